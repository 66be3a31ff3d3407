"""Named tensors as buffers of a module."""

import torch

from promptad.models.buffers import Buffers


def test_buffers_keep_names_and_order_even_of_one_tensor_twice() -> None:
    mean, std = torch.zeros(3), torch.ones(3)
    buffers = Buffers({"map_std": std, "class_mean": mean, "map_mean": mean})
    assert list(buffers.tensors()) == ["map_std", "class_mean", "map_mean"]
    assert buffers.tensors()["map_mean"] is mean
    assert set(buffers.state_dict()) == {"map_std", "class_mean", "map_mean"}
    assert buffers.to(torch.float64).tensors()["class_mean"].dtype == torch.float64
