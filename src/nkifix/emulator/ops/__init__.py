"""Operations on tensors: the machine's instructions, without the names and signatures of any API."""
