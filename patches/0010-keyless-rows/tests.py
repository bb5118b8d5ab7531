@pytest.mark.simulation
def test_flash_attn_fwd_rows_without_a_key(self):
    q = torch.randn(1, 1, 1024, 128, dtype=torch.bfloat16)
    k = torch.randn(1, 1, 512, 128, dtype=torch.bfloat16)
    v = torch.randn(1, 1, 512, 128, dtype=torch.bfloat16)
    behind = torch.arange(1024)[:, None] - torch.arange(512)[None, :]
    scores = q.float() @ k.float().transpose(2, 3) / math.sqrt(128)
    scores = scores.masked_fill((behind < 0) | (behind > 100), float('-inf'))
    attn_gold = torch.softmax(scores, dim=-1).nan_to_num(0.0) @ v.float()

    device = xm.xla_device()
    q = q.permute(0, 1, 3, 2).to(device)
    k = k.permute(0, 1, 3, 2).to(device)
    v = v.to(device)
    attn_nki = flash_fwd[1, 1](q, k, v, window_size=(100, -1), config=FlashConfig(seq_tile_size=512)).to('cpu')

    assert (attn_nki[:, :, 512 + 100:] == 0).all()
    torch.testing.assert_close(attn_nki.float(), attn_gold, atol=2e-2, rtol=2e-2)
