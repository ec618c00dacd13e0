"""SSD's MultiBoxLoss (multibox_loss_layer.cpp and bbox_util.cpp of github.com/weiliu89/caffe)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from convert.caffe import caffe_pb2
from convert.caffe.network import CaffeError, Diagnostic, Layer
from geometry.arrays import F32, Floats
from geometry.coding import CodeType, encode
from training.network.matching import UNMATCHED, match

_CODES = {
    caffe_pb2.PriorBoxParameter.CORNER: CodeType.CORNER,
    caffe_pb2.PriorBoxParameter.CENTER_SIZE: CodeType.CENTER_SIZE,
    caffe_pb2.PriorBoxParameter.CORNER_SIZE: CodeType.CORNER_SIZE,
}


@dataclass(frozen=True)
class MultiBoxLoss:
    """The loss of codes and confidence logits against the faces of a batch.

    Priors that are matched to a face are trained on the face and its location. Of the others, the
    hardest negatives are trained on the background: `negatives` for each matched prior of the same
    image. All faces have class 1, or class 0 if 1 is the background.
    """

    classes: int = 2
    background: int = 0
    threshold: float = 0.5
    per_prediction: bool = True
    ignore_crossing: bool = False
    negatives: float | None = 3.0
    """None: without mining, every unmatched prior is background."""
    negative_overlap: float = 0.5
    """Unmatched priors with at least this IoU with a face are ignored."""
    logistic: bool = False
    smooth: bool = True
    location_weight: float = 1.0
    weight: float = 1.0
    """The layer's `loss_weight`, a factor on both parts (`Layer::SetLossWeights`)."""
    code_type: CodeType = CodeType.CORNER
    normalization: caffe_pb2.LossParameter.NormalizationMode = caffe_pb2.LossParameter.VALID

    @classmethod
    def of_layer(cls, layer: Layer) -> "MultiBoxLoss":
        """The loss of a MultiBoxLoss layer; CaffeError for settings that are not supported."""
        own = layer.parameter.multibox_loss_param
        weights = layer.parameter.loss_weight
        kind = caffe_pb2.MultiBoxLossParameter
        mining = own.mining_type
        if own.HasField("do_neg_mining") and not own.HasField("mining_type"):
            mining = kind.MAX_NEGATIVE if own.do_neg_mining else kind.NONE
        wrong = {
            "mining_type HARD_EXAMPLE": mining == kind.HARD_EXAMPLE,
            "share_location: false": not own.share_location,
            "use_prior_for_matching: false": not own.use_prior_for_matching,
            "bp_inside: true": own.bp_inside,
            "map_object_to_agnostic: true": own.map_object_to_agnostic,
            "encode_variance_in_target: true": own.encode_variance_in_target,
            "nms_param: it mines all negatives": own.HasField("nms_param"),
            f"num_classes {own.num_classes} instead of 2": own.num_classes != 2,
            f"background_label_id {own.background_label_id}: the classes are 0 and 1": (
                own.background_label_id not in (0, 1)
            ),
            "second loss_weight: the layer has one top": len(weights) > 1,
        }
        problems = [
            Diagnostic(f"the trainer does not support {text}", layer.line, layer=layer.name)
            for text, found in wrong.items()
            if found
        ]
        if problems:
            raise CaffeError(layer.name, problems)
        loss = layer.parameter.loss_param
        normalization = loss.normalization
        if loss.HasField("normalize") and not loss.HasField("normalization"):
            modes = caffe_pb2.LossParameter
            normalization = modes.VALID if loss.normalize else modes.BATCH_SIZE
        return cls(
            classes=own.num_classes,
            background=own.background_label_id,
            threshold=own.overlap_threshold,
            per_prediction=own.match_type == kind.PER_PREDICTION,
            ignore_crossing=own.ignore_cross_boundary_bbox,
            negatives=None if mining == kind.NONE else own.neg_pos_ratio,
            negative_overlap=own.neg_overlap,
            logistic=own.conf_loss_type == kind.LOGISTIC,
            smooth=own.loc_loss_type == kind.SMOOTH_L1,
            location_weight=own.loc_weight,
            weight=weights[0] if weights else 1.0,
            code_type=_CODES[own.code_type],
            normalization=normalization,
        )

    def __call__(
        self, codes: Tensor, logits: Tensor, priors: Tensor, faces: Sequence[F32]
    ) -> tuple[Tensor, Tensor]:
        """Location and confidence loss, normalised and weighted. Their sum is the total loss.

        `codes` [N, P, 4], `logits` [N, P, classes], `priors` [P, 8] with variances, and for each
        image its faces [G, 4] as corners in fractions of the image.
        """
        corners = priors[:, :4].numpy()
        variances = priors[:, 4:].numpy()
        labels = torch.full(logits.shape[:2], -1)
        targets: list[Floats] = []
        places: list[Tensor] = []
        confidence = self._confidence(logits.detach(), torch.full_like(labels, self.background))
        for image, labelled in enumerate(faces):
            matches = match(
                corners,
                labelled,
                self.threshold,
                per_prediction=self.per_prediction,
                ignore_crossing=self.ignore_crossing,
            )
            matched = np.flatnonzero(matches.faces >= 0)
            targets.append(
                encode(
                    labelled[matches.faces[matched]],
                    corners[matched],
                    variances[matched],
                    self.code_type,
                )
            )
            place = torch.from_numpy(matched)
            places.append(place + image * len(priors))
            labels[image, place] = 1 - self.background
            unmatched = matches.faces == UNMATCHED
            if self.negatives is None:
                labels[image, torch.from_numpy(unmatched)] = self.background
                continue
            eligible = np.flatnonzero(unmatched & (matches.overlaps < self.negative_overlap))
            count = min(int(len(matched) * self.negatives), len(eligible))
            order = torch.argsort(
                confidence[image, torch.from_numpy(eligible)], descending=True, stable=True
            )
            labels[image, torch.from_numpy(eligible)[order[:count]]] = self.background
        wanted = torch.from_numpy(np.concatenate(targets).astype(np.float32))
        found = codes.reshape(-1, 4)[torch.cat(places)]
        distance = functional.smooth_l1_loss if self.smooth else functional.mse_loss
        location = distance(found, wanted, reduction="sum") * self.location_weight
        if not self.smooth:
            # EuclideanLoss is half of the sum of squares.
            location = location / 2
        taken = labels >= 0
        total = self._confidence(logits[taken][None], labels[taken][None]).sum()
        scale = self.weight / self._normalizer(len(faces), len(priors), len(wanted))
        return location * scale, total * scale

    def _confidence(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The confidence loss [N, P] of each prior, given its label."""
        if self.logistic:
            wanted = functional.one_hot(labels, self.classes).to(logits.dtype)
            return functional.binary_cross_entropy_with_logits(
                logits, wanted, reduction="none"
            ).sum(-1)
        return functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")

    def _normalizer(self, images: int, priors: int, matched: int) -> float:
        """`LossLayer::GetNormalizer`, at least 1."""
        modes = caffe_pb2.LossParameter
        by_mode = {
            modes.FULL: images * priors,
            modes.VALID: matched,
            modes.BATCH_SIZE: images,
            modes.NONE: 1,
        }
        return max(1.0, float(by_mode[self.normalization]))
