"""What a student sees step after step, and what its teachers saw there."""

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geometry.arrays import F64, U8
from training.data.augmentations import degrade, obscure, tilt
from training.data.dataset import MEAN_RGB, Photograph
from training.data.scenes import Scene, compose, frequencies
from training.distillation.targets import targets
from training.distillation.teacher import Teacher
from training.recipe import Recipe


@dataclass(frozen=True)
class Lesson:
    """One step's worth."""

    data: Tensor
    """[N, 3, S, S], spoilt, as the student sees it."""
    codes: Tensor
    """[N, P, 4], to teach."""
    probabilities: Tensor
    """[N, P, 2], to teach."""


@dataclass(frozen=True)
class _Batch:
    scenes: list[Scene]
    images: list[U8]
    """Their pictures as the teachers see them."""
    spoilt: Tensor
    """The same, as the student sees them."""
    enlarged: int
    """How many of the scenes the teachers also see enlarged."""


@dataclass(frozen=True)
class _Taught:
    images: list[U8]
    codes: Tensor
    probabilities: Tensor


def as_input(images: Sequence[np.ndarray]) -> Tensor:
    """RGB uint8 [S, S, 3] pictures as Caffe's BGR, mean-free [N, 3, S, S] in channels_last."""
    stacked = torch.from_numpy(np.stack(images)[..., ::-1].astype(np.float32))
    return (stacked - torch.tensor(MEAN_RGB[::-1], dtype=torch.float32)).permute(0, 3, 1, 2)


def lessons(
    teachers: Sequence[Teacher],
    photographs: Sequence[Photograph],
    recipe: Recipe,
    start: int,
    pool: Executor,
) -> Iterator[Lesson]:
    """Lesson after lesson, without end; `start` says where a resumed run goes on.

    Teachers take a good part of the time. So each new batch is followed by some that they
    have judged before, spoilt in another way: data echoing (Choi et al. 2019, arXiv:1907.05550).
    """
    memory: deque[_Taught] = deque(maxlen=recipe.remembered)
    for number, batch in enumerate(_batches(photographs, recipe, start, pool), start):
        random = np.random.default_rng([recipe.seed, number, 1])
        chosen = [memory[i] for i in random.permutation(len(memory))[: recipe.echoes]]
        again = [pool.submit(_spoil, each.images, random) for each in chosen]
        codes, probabilities = targets(
            teachers, batch.scenes, as_input(batch.images), batch.enlarged
        )
        yield Lesson(batch.spoilt, codes, probabilities)
        for each, spoilt in zip(chosen, again, strict=True):
            yield Lesson(spoilt.result(), each.codes, each.probabilities)
        memory.append(_Taught(batch.images, codes, probabilities))


def _batches(
    photographs: Sequence[Photograph], recipe: Recipe, start: int, pool: Executor
) -> Iterator[_Batch]:
    """Batch after batch, the next one made while the one before is used."""
    shares = frequencies(photographs)
    upcoming = pool.submit(_compose, photographs, shares, recipe, start)
    for number in itertools.count(start + 1):
        following = pool.submit(_compose, photographs, shares, recipe, number)
        yield upcoming.result()
        upcoming = following


def _compose(photographs: Sequence[Photograph], shares: F64, recipe: Recipe, number: int) -> _Batch:
    random = np.random.default_rng([recipe.seed, number])
    large = random.random() < recipe.large_share
    size = recipe.large_size if large else recipe.size
    count = max(recipe.batch // 4, 1) if large else recipe.batch
    scenes = [tilt(compose(photographs, shares, size, random), random) for _ in range(count)]
    images = [obscure(scene.image, random) for scene in scenes]
    spoilt = _spoil(images, random)
    enlarged = math.floor(count * recipe.enlarged_share + random.random())
    return _Batch(scenes, images, spoilt, enlarged)


def _spoil(images: Sequence[U8], random: np.random.Generator) -> Tensor:
    return as_input([degrade(image, random) for image in images])
