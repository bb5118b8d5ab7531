@pytest.mark.simulation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_flash_attn_fwd_output_keeps_its_precision(self, dtype):
    seqlen = 2048
    q = torch.zeros(1, 1, 128, seqlen, dtype=dtype)
    v = torch.ones(1, 1, seqlen, 128, dtype=dtype)
    v[:, :, 0] = 2.0
    # all scores are 0, so each token gets the mean of the values up to its own
    gold = v.float().cumsum(dim=2) / torch.arange(1, seqlen + 1)[:, None]

    device = xm.xla_device()
    q, v = q.to(device), v.to(device)
    attn_nki = flash_fwd[1, 1](q, q, v, window_size=(-2, -1))

    torch.testing.assert_close(attn_nki.to('cpu').float(), gold, atol=1e-3, rtol=1e-3)
