"""The trainer: context vectors are trained on the support images only."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from promptad.backbones.clip import Backbone
from promptad.backbones.prompt_trees import PromptTrees
from promptad.features import SupportFeatures
from promptad.models.losses import check_finite
from promptad.models.multi_prototype.assignment import balancing_bias
from promptad.models.multi_prototype.objective import TrainInputs, total_loss
from promptad.models.multi_prototype.prototypes import Prototypes
from promptad.models.multi_prototype.trust import WordsCheck, check_words, trust_weighted
from promptad.prompts.encode import encode_states
from promptad.prompts.prompt_learner import PromptLearner, initial_prompt_learner
from promptad.prompts.states import StateGroup
from promptad.settings import LossWeights, Settings, TrainingSettings


class Trainer:
    """The training of one class: its prompt learner, its training data, and the current state."""

    epoch: int
    prototypes: Prototypes

    def __init__(
        self, backbone: Backbone, words: str, groups: Sequence[StateGroup], support: SupportFeatures, settings: Settings
    ) -> None:
        """Build prompts, targets and optimiser.

        Args:
            backbone: the frozen CLIP.
            words: the name of the part in a prompt.
            groups: its states.
            support: features of the views of the support images, and of disturbed ones if the reaction loss is on;
                apart from the words, the only training data.
            settings: only the level, prompts and training parts are used.
        """
        self.training, self.text_encoder = settings.training, backbone.text_encoder
        self.prompts = initial_prompt_learner(backbone, words, groups, settings.prompts, settings.training.seed)
        start = Prototypes.from_features(*self.prompts())
        states = encode_states(backbone, words, groups)
        self.inputs = TrainInputs.from_support(support, states, start.detach(), backbone.temperature, settings.level)
        self.check: WordsCheck | None = None  # unless trust is given or context vectors do not start from words
        if settings.training.trust is None and settings.prompts.start == "words":
            self.check = check_words(backbone, words, groups, start, support, settings)
        self.weights = _weights(settings, self.check)
        self.optimizer, self.schedule = _make_optimizer(self.prompts, settings.training)
        self.epoch, self.bias = -1, torch.zeros(len(start.normal), device=backbone.device)
        self.update(start)

    def update(self, prototypes: Prototypes) -> None:
        """Store the new prototypes, and recompute their balancing bias and the loss.

        Raises:
            InputError: the loss is NaN or infinite.
        """
        self.epoch += 1
        self.prototypes = prototypes
        patches = self.inputs.centred_per_image(self.inputs.patch_tokens @ prototypes.normal.T)
        self.bias = balancing_bias(patches, self.bias)
        self.loss = total_loss(prototypes, self.inputs, self.weights, self.bias)
        check_finite(self.loss, self.epoch, self.training.lr)

    def step(self) -> None:
        """Update the context vectors from their current gradients."""
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()


def run_epochs(trainers: Sequence[Trainer]) -> Iterator[int]:
    """Train classes side by side, one step an epoch; yield the number of each epoch, 0 before the first step.

    The prompts of all classes go through the text encoder together: one class alone does not fill a GPU. The generator
    ignores sent values, so what its caller measures between epochs cannot reach the training.

    Raises:
        InputError: the loss of one is NaN or infinite.
    """
    learners = [trainer.prompts for trainer in trainers]
    prompts = [len(own.trees.leaf_of) for own in learners]
    trees = PromptTrees.joined([own.trees for own in learners], [len(own.vectors()) for own in learners])
    yield 0
    for epoch in range(1, trainers[0].training.epochs + 1):
        torch.stack([trainer.loss for trainer in trainers]).sum().backward()  # type: ignore[no-untyped-call]
        for trainer in trainers:
            trainer.step()
        encoded = trainers[0].text_encoder.encode(torch.cat([own.vectors() for own in learners]), trees)
        for trainer, features in zip(trainers, torch.split(encoded, prompts), strict=True):
            trainer.update(Prototypes.from_features(*trainer.prompts.split(features)))
        yield epoch


def _weights(settings: Settings, check: WordsCheck | None) -> LossWeights:
    """Return the weights of the losses: random context vectors have no start worth staying close to."""
    weights, trust = settings.training.weights, settings.training.trust
    if settings.prompts.start != "words":
        return replace(trust_weighted(weights, trust or 0.0, 0.0), closeness=0.0)
    if check is None:
        assert trust is not None, "words that are not checked have a trust"
        return trust_weighted(weights, trust, trust)
    return trust_weighted(weights, check.zero_shot.probability, check.believed)


def _make_optimizer(
    prompts: PromptLearner, training: TrainingSettings
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW (Loshchilov and Hutter, 2019) and a cosine decay of its learning rate to 0 over all epochs."""
    optimizer = torch.optim.AdamW(
        prompts.parameters(), training.lr, (training.momentum, 0.999), weight_decay=training.weight_decay
    )
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(training.epochs, 1))
