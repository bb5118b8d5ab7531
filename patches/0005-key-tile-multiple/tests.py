@pytest.mark.simulation
@pytest.mark.parametrize("tile_size", [513, 640, 4608])
def test_flash_attn_fwd_refuses_key_tile_that_loses_keys(self, tile_size):
    device = xm.xla_device()
    q = torch.randn(1, 1, 128, 128, dtype=torch.bfloat16).to(device)
    k = torch.randn(1, 1, 128, tile_size, dtype=torch.bfloat16).to(device)
    v = torch.randn(1, 1, tile_size, 128, dtype=torch.bfloat16).to(device)
    with pytest.raises(AssertionError, match="multiple of 512"):
        flash_fwd[1, 1](q, k, v, window_size=(-2, -1), config=FlashConfig(seq_tile_size=tile_size))
