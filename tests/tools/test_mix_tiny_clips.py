"""The tool that mixes the weights of two tiny CLIPs."""

import torch
from mix_tiny_clips import mix


def test_weights_are_mixed_by_share_and_tokens_by_their_number() -> None:
    earlier = {
        "bias": torch.tensor([0.0, 4.0]).half(),
        "token_embedding.ids": torch.tensor([7, 9]),
        "token_embedding.rows": torch.tensor([[1.0], [2.0]]).half(),
        "token_embedding.other_row": torch.tensor([8.0]).half(),
    }
    later = {
        "bias": torch.tensor([4.0, 0.0]).half(),
        "token_embedding.ids": torch.tensor([5, 7, 9]),
        "token_embedding.rows": torch.tensor([[0.0], [5.0], [2.0]]).half(),
        "token_embedding.other_row": torch.tensor([0.0]).half(),
    }
    mixed = mix(earlier, later, 0.75)
    assert mixed.keys() == later.keys()
    assert mixed["bias"].tolist() == [3, 1]
    assert mixed["token_embedding.ids"].tolist() == [5, 7, 9]
    assert mixed["token_embedding.rows"].flatten().tolist() == [2, 4, 2]  # 5 was not known: its row was the common one
    assert float(mixed["token_embedding.other_row"]) == torch.tensor(8 / 3).half()
    assert all(value.dtype == later[name].dtype for name, value in mixed.items())
    assert all(torch.equal(mix(earlier, later, 1.0)[name], later[name]) for name in ("bias", "token_embedding.rows"))
