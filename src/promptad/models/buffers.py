"""Named tensors as buffers of a module, so that `.to`, `state_dict` and a traced graph include them."""

from collections.abc import Mapping

from torch import Tensor, nn


class Buffers(nn.Module):
    """Named tensors that are not trainable."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by their names, in their order."""
        return dict(self.named_buffers(remove_duplicate=False))
