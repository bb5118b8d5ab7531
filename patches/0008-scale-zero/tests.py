@pytest.mark.simulation
def test_flash_attn_fwd_scale_zero(self):
    seqlen = 2048
    q = torch.randn(1, 1, 128, seqlen, dtype=torch.bfloat16)
    k = torch.randn(1, 1, 128, seqlen, dtype=torch.bfloat16)
    v = torch.randn(1, 1, seqlen, 128, dtype=torch.bfloat16)
    # all scores are 0, so each token gets the mean of the values up to its own
    gold = v.float().cumsum(dim=2) / torch.arange(1, seqlen + 1)[:, None]

    device = xm.xla_device()
    q, k, v = q.to(device), k.to(device), v.to(device)
    attn_nki = flash_fwd[1, 1](q, k, v, softmax_scale=0.0, window_size=(-2, -1))

    torch.testing.assert_close(attn_nki.to('cpu').float(), gold, atol=1e-2, rtol=1e-2)
