@pytest.mark.simulation
@pytest.mark.parametrize("nheads, kv_heads, grid, message", [
[7, 2, (1, 2), "7 query heads cannot share 2 kv heads"],
[2, 4, (1, 4), "2 query heads cannot share 4 kv heads"],
[2, 2, (1, 1), "launch flash_fwd.1, 2."],  # one kv head left out
])
def test_flash_attn_fwd_refuses_heads_left_out(self, nheads, kv_heads, grid, message):
    device = xm.xla_device()
    q = torch.randn(1, nheads, 128, 512, dtype=torch.bfloat16).to(device)
    k = torch.randn(1, kv_heads, 128, 512, dtype=torch.bfloat16).to(device)
    v = torch.randn(1, kv_heads, 512, 128, dtype=torch.bfloat16).to(device)
    with pytest.raises(AssertionError, match=message):
        flash_fwd[grid](q, k, v, window_size=(-2, -1), config=FlashConfig(seq_tile_size=512))
