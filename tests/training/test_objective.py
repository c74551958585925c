"""Losses against torch's, timm's and torchvision's own."""

import pytest
import torch
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch.nn import functional as F
from torchvision import tv_tensors
from torchvision.transforms import v2

from c2d_fast.formats.label_sets import NO_LABEL
from c2d_fast.loading.batch import Batch
from c2d_fast.recipe import Augment, Distill, Labels
from c2d_fast.training.mixing import Mix, Mixing
from c2d_fast.training.objective import Objective, class_weights
from c2d_fast.training.teacher import ModelTeacher, StoredTeacher

K = 7


def made(count=6, *, targets=None, label=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randint(0, 256, (count, 2, 12, 16, 3), generator=generator, dtype=torch.uint8)
    label = torch.randint(0, K, (count,), generator=generator) if label is None else label
    logits = 3 * torch.randn(count, K, generator=generator)
    return Batch(clip, label, torch.arange(count), torch.ones(count, dtype=torch.bool), targets=targets), logits


def loss_of(objective, batch, logits, teacher=None):
    return objective(logits, objective.targets(batch, Mix()), teacher)


def test_without_ingredients_it_is_the_cross_entropy_to_the_bit():
    batch, logits = made()
    assert torch.equal(loss_of(Objective(K), batch, logits), F.cross_entropy(logits, batch.label))


def test_label_smoothing_is_timm_s():
    batch, logits = made()
    theirs = LabelSmoothingCrossEntropy(0.1)(logits, batch.label)
    assert loss_of(Objective(K, label_smoothing=0.1), batch, logits) == pytest.approx(theirs.item(), abs=1e-6)
    # The same where all batches have shares because some are mixed.
    assert loss_of(Objective(K, label_smoothing=0.1, mixes=True), batch, logits) == pytest.approx(theirs.item(), abs=1e-6)


def test_soft_labels_are_timm_s():
    generator = torch.Generator().manual_seed(1)
    shares = torch.rand(6, K, generator=generator).softmax(1)
    batch, logits = made(targets=shares)
    theirs = SoftTargetCrossEntropy()(logits, shares)
    assert loss_of(Objective(K, Labels(kind="soft")), batch, logits) == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_several_labels_are_timm_s_binary_cross_entropy(smoothing):
    targets = (torch.rand(6, K, generator=torch.Generator().manual_seed(2)) < 0.4).float()
    batch, logits = made(targets=targets)
    ours = loss_of(Objective(K, Labels(kind="several"), smoothing), batch, logits)
    if not smoothing:
        assert ours == pytest.approx(BinaryCrossEntropy(smoothing=0)(logits, targets).item(), abs=1e-6)
    single, logits = made()  # timm smooths targets that it makes of labels only
    ours = loss_of(Objective(K, Labels(kind="several"), smoothing), single, logits)
    assert ours == pytest.approx(BinaryCrossEntropy(smoothing=smoothing)(logits, single.label).item(), abs=1e-6)


def test_class_weights_are_those_of_inverse_frequency():
    counts = [10, 1, 0, 5, 2, 2, 4]
    weights = class_weights("single", counts, sum(counts))
    present = torch.tensor([count for count in counts if count], dtype=torch.float64)
    expected = sum(counts) / (len(present) * present)  # as scikit-learn's "balanced"
    assert torch.allclose(weights[torch.tensor(counts) > 0].double(), expected, atol=1e-6)
    assert weights[2] == 1
    batch, logits = made()
    ours = loss_of(Objective(K, Labels(class_weights="balanced"), class_weights=weights), batch, logits)
    assert torch.equal(ours, F.cross_entropy(logits, batch.label, weights))
    several = class_weights("several", counts, 30)
    assert several[:2].tolist() == pytest.approx([2.0, 29.0])
    assert class_weights("several", [30, 15], 30).tolist() == [1.0, 1.0]  # nothing is left out of the loss
    targets = F.one_hot(batch.label, K).float()
    ours = loss_of(Objective(K, Labels(kind="several", class_weights="balanced"), class_weights=several), batch, logits)
    theirs = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=several)
    assert ours == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("kind", ["single", "soft", "several"])
@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_clips_without_a_label_count_in_no_loss(kind, mixes, smoothing):
    label = torch.tensor([3, NO_LABEL, 1, 0, NO_LABEL, 6])
    batch, logits = made(label=label)
    known, _ = made(label=label[label >= 0], count=4)
    objective = Objective(K, Labels(kind=kind, ignore=-1), smoothing, mixes)
    plain = Objective(K, Labels(kind=kind), smoothing, mixes)
    assert loss_of(objective, batch, logits) == pytest.approx(loss_of(plain, known, logits[label >= 0]).item(), abs=1e-6)
    nothing, logits = made(label=torch.full((6,), NO_LABEL))
    logits.requires_grad_()
    loss = loss_of(objective, nothing, logits)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


def test_ignored_labels_with_weights_are_torch_s():
    label = torch.tensor([3, NO_LABEL, 1, 0, NO_LABEL, 6])
    batch, logits = made(label=label)
    weights = torch.linspace(0.5, 2, K)
    ours = loss_of(Objective(K, Labels(ignore=-1, class_weights="balanced"), class_weights=weights), batch, logits)
    assert ours == pytest.approx(F.cross_entropy(logits, label, weights, ignore_index=NO_LABEL).item(), abs=1e-6)


@pytest.mark.parametrize("kind", ["single", "soft", "several"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_clip_mixed_with_one_without_a_label_learns_its_labelled_part(kind, smoothing):
    """The oracle weighs the loss of each part of a clip by its share; parts without a label are left out."""
    share, label = 0.3, torch.tensor([3, NO_LABEL, NO_LABEL, 0, 2, 6])
    batch, logits = made(label=label)
    weights = torch.linspace(0.5, 2, K)
    objective = Objective(K, Labels(kind=kind, ignore=-1), smoothing, True, class_weights=weights)
    mix = Mix(share)
    total, mass = 0.0, 0.0
    for row, own, other in zip(logits, label, label.roll(1), strict=True):
        for part, of in ((share, own), (1 - share, other)):
            if of == NO_LABEL:
                continue
            target = F.one_hot(of, K).float()
            if kind == "several":
                smooth = target * (1 - smoothing) + smoothing / K
                loss = F.binary_cross_entropy_with_logits(row, smooth, pos_weight=weights)
            else:
                loss = F.cross_entropy(row[None], target[None], weights, label_smoothing=smoothing)
            total, mass = total + part * loss.item(), mass + part
    assert objective(logits, objective.targets(batch, mix)) == pytest.approx(total / mass, abs=1e-5)


def test_clips_of_one_video_are_mixed_with_those_of_the_video_before():
    batch, _ = made()
    mix = Mixing(Augment(mixup=1.0), seed=0, clips_per_video=2).draw(1, 0, 12, 16)
    assert torch.equal(mix.clips(batch.clip), torch.lerp(batch.clip.float().roll(2, 0), batch.clip.float(), mix.share))
    values = torch.arange(6.0)[:, None]
    assert torch.equal(mix.rows(values), torch.lerp(values.roll(2, 0), values, mix.share))
    cut = Mixing(Augment(cutmix=1.0), seed=0, clips_per_video=3).draw(2, 0, 12, 16)
    x0, y0, x1, y1 = cut.box
    assert x1 > x0
    assert y1 > y0
    assert torch.equal(cut.clips(batch.clip)[:, :, y0:y1, x0:x1], batch.clip.float().roll(3, 0)[:, :, y0:y1, x0:x1])


def test_distillation_is_hinton_s():
    batch, logits = made()
    teacher = torch.randn(6, K, generator=torch.Generator().manual_seed(5))
    for temperature, weight in ((1.0, 0.5), (4.0, 0.9)):
        objective = Objective(K, distill=Distill(weight=weight, temperature=temperature))
        soft = (teacher / temperature).softmax(1)
        by_hand = (soft * (soft.log() - (logits / temperature).log_softmax(1))).sum(1).mean() * temperature**2
        expected = (1 - weight) * F.cross_entropy(logits, batch.label) + weight * by_hand
        assert loss_of(objective, batch, logits, teacher=soft) == pytest.approx(expected.item(), abs=1e-5)


def test_stored_scores_say_what_the_logits_said_at_any_temperature():
    logits = 4 * torch.randn(9, K, generator=torch.Generator().manual_seed(6))
    batch, _ = made()
    batch.index = torch.tensor([8, 0, 3, 3, 1, 7])
    for temperature in (1.0, 3.0):
        stored = StoredTeacher(logits.softmax(1), temperature)
        expected = (logits[batch.index] / temperature).softmax(1)
        assert torch.allclose(stored(batch, batch.clip, Mix()), expected, atol=1e-6)
        mixed = stored(batch, batch.clip, Mix(0.3))
        assert torch.allclose(mixed, 0.3 * expected + 0.7 * expected.roll(1, 0), atol=1e-6)


def test_a_teacher_that_is_a_model_sees_the_clips_that_the_student_sees():
    class Mean(torch.nn.Module):
        def forward(self, clip):
            return clip.float().mean((1, 2, 3)) / 50

    from c2d_fast.model.precision import Precision

    batch, _ = made()
    clip = Mix(0.25).clips(batch.clip)
    said = ModelTeacher(Mean(), 2.0, Precision("fp32"))(batch, clip, Mix(0.25))
    assert torch.allclose(said, (clip.mean((1, 2, 3)) / 100).softmax(1), atol=1e-6)


def video_of(clip):
    return tv_tensors.Video(clip.float().movedim(-1, 2))  # [N, T, C, H, W], as torchvision takes batches of videos


def test_mixup_is_torchvision_s():
    batch, _ = made()
    theirs, their_targets = v2.MixUp(num_classes=K).transform, None
    params = {"lam": 0.3, "labels": batch.label, "batch_size": 6}
    expected = theirs(video_of(batch.clip), params)
    their_targets = theirs(batch.label, params)
    mix = Mix(0.3)
    assert torch.allclose(mix.clips(batch.clip), expected.movedim(2, -1), atol=1e-4)  # of 0..255: 4e-7 of the range
    ours = Objective(K, mixes=True).targets(batch, mix).shares
    assert torch.allclose(ours, their_targets.float(), atol=1e-6)


def test_cutmix_is_torchvision_s():
    batch, _ = made()
    box = (3, 2, 11, 9)
    share = 1 - (11 - 3) * (9 - 2) / (12 * 16)
    params = {"box": box, "lam_adjusted": share, "labels": batch.label, "batch_size": 6}
    cutmix = v2.CutMix(num_classes=K)
    assert torch.equal(Mix(share, box).clips(batch.clip), cutmix.transform(video_of(batch.clip), params).movedim(2, -1))
    ours = Objective(K, mixes=True).targets(batch, Mix(share, box)).shares
    assert torch.allclose(ours, cutmix.transform(batch.label, params).float(), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_and_boxes_are_drawn_as_torchvision_draws_them(alpha):
    """Kolmogorov-Smirnov on 4,000 draws each: with right code it fails once in 10,000 times; the draws are fixed."""
    from scipy.stats import ks_2samp

    torch.manual_seed(0)
    clip = tv_tensors.Video(torch.zeros(2, 1, 3, 30, 40))
    for kind, transform, key in (("mixup", v2.MixUp, "lam"), ("cutmix", v2.CutMix, "lam_adjusted")):
        theirs = transform(num_classes=2, alpha=alpha)
        made = [theirs.make_params([clip])[key] for _ in range(4000)]
        mixing = Mixing(Augment(**{kind: alpha}), seed=0)
        ours = [mixing.draw(step, 0, 30, 40) for step in range(4000)]
        assert ks_2samp([mix.share for mix in ours], made).pvalue > 1e-4, kind
        if kind == "cutmix":
            their_boxes = [theirs.make_params([clip])["box"] for _ in range(4000)]
            for corner in range(4):
                assert ks_2samp([mix.box[corner] for mix in ours], [box[corner] for box in their_boxes]).pvalue > 1e-4


def test_a_draw_depends_on_seed_step_and_part_alone():
    mixing = Mixing(Augment(mixup=0.4, cutmix=1.0, mix_probability=0.7), seed=3)
    draws = {(step, part): mixing.draw(step, part, 12, 16) for step in range(40) for part in range(3)}
    assert all(mixing.draw(*key, 12, 16) == draw for key, draw in reversed(draws.items()))
    assert Mixing(mixing.augment, seed=4).draw(5, 0, 12, 16) != draws[5, 0]
    assert len({draw.share for draw in draws.values()}) > 60
    kinds = [draw.box is not None for draw in draws.values() if draw.share != 1.0]
    assert 0.35 < sum(kinds) / len(kinds) < 0.65
    assert 0.5 < len(kinds) / len(draws) < 0.85


def test_without_mixing_a_batch_is_what_it_was():
    batch, _ = made()
    assert torch.equal(Mix().clips(batch.clip), batch.clip.float())
    assert Mix().rows(batch.label) is batch.label
