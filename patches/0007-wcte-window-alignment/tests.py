@pytest.mark.simulation
@pytest.mark.parametrize("sliding_window", [100, 200])
def test_flash_attn_fwd_wcte_window_alignment(self, sliding_window):
    q = torch.randn(1, 1, 512, 128, dtype=torch.bfloat16)
    k = torch.randn(1, 1, 1024, 128, dtype=torch.bfloat16)
    v = torch.randn(1, 1, 1024, 128, dtype=torch.bfloat16)
    ahead = torch.arange(1024)[None, :] - torch.arange(512)[:, None]
    scores = q.float() @ k.float().transpose(2, 3) / math.sqrt(128)
    scores = scores.masked_fill((ahead < 1) | (ahead > sliding_window), float('-inf'))
    attn_gold = torch.softmax(scores, dim=-1) @ v.float()

    device = xm.xla_device()
    q = q.permute(0, 1, 3, 2).to(device)
    k = k.permute(0, 1, 3, 2).to(device)
    v = v.to(device)
    config = FlashConfig(seq_tile_size=512, windowed_context_encoding=True)
    attn_nki = flash_fwd[1, 1](q, k, v, window_size=(sliding_window - 1, -1), config=config)

    torch.testing.assert_close(attn_nki.to('cpu').float(), attn_gold, atol=2e-2, rtol=2e-2)
