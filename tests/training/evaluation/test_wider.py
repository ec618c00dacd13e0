"""The WIDER FACE protocol, against a plain transcription of the authors' MATLAB."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluation import wider
from training.evaluation.curves import Detections
from training.evaluation.wider import GroundTruthError, Marked

Box = Sequence[float]


def plain_protocol(found: Mapping[str, Detections], marked: Sequence[Marked], subset: str) -> float:
    """evaluation.m, norm_score.m, boxoverlap.m and VOCap.m, line by line and loop by loop."""
    everything = [score for each in found.values() for score in each.scores]
    low, high = min(everything), max(everything)
    table = [[0, 0] for _ in range(1000)]
    total = 0
    for image in marked:
        total += int(image.counted[subset].sum())
        if image.name not in found or not len(found[image.name].scores) or not len(image.faces):
            continue
        detections = found[image.name]
        rows = sorted(
            zip(detections.boxes.tolist(), detections.scores.tolist(), strict=True),
            key=lambda row: -row[1],
        )
        recall_list = [0] * len(image.faces)
        proposal_list = [1] * len(rows)
        pred_recall = [0] * len(rows)
        for h, (box, _) in enumerate(rows):
            shared = [plain_overlap(box, face.tolist()) for face in image.faces]
            best = max(shared)
            index = shared.index(best)
            if best >= 0.5:
                if not image.counted[subset][index]:
                    recall_list[index] = -1
                    proposal_list[h] = -1
                elif recall_list[index] == 0:
                    recall_list[index] = 1
            pred_recall[h] = recall_list.count(1)
        for t in range(1000):
            threshold = 1 - (t + 1) / 1000
            passing = [
                h for h, (_, score) in enumerate(rows) if (score - low) / (high - low) >= threshold
            ]
            if passing:
                table[t][0] += proposal_list[: passing[-1] + 1].count(1)
                table[t][1] += pred_recall[passing[-1]]
    recall = [0.0] + [hits / total for _, hits in table] + [1.0]
    precision = [0.0] + [hits / made if made else 0.0 for made, hits in table] + [0.0]
    for at in range(len(precision) - 2, -1, -1):
        precision[at] = max(precision[at], precision[at + 1])
    return sum((recall[at] - recall[at - 1]) * precision[at] for at in range(1, len(recall)))


def plain_overlap(box: Box, face: Box) -> float:
    x1, y1, x2, y2 = face[0], face[1], face[0] + face[2], face[1] + face[3]
    width = min(box[2], x2) - max(box[0], x1) + 1
    height = min(box[3], y2) - max(box[1], y1) + 1
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    return both / (area + (x2 - x1 + 1) * (y2 - y1 + 1) - both)


def random_run(seed: int) -> tuple[dict[str, Detections], list[Marked]]:
    """Crowded images with faces found, missed, found twice, ignored, and false detections."""
    random = np.random.default_rng(seed)
    found, marked = {}, []
    for number in range(12):
        count = int(random.integers(0, 9))
        faces = np.concatenate(
            [random.uniform(0, 80, (count, 2)), random.uniform(8, 40, (count, 2))], axis=1
        )
        counted = {name: random.random(count) < 0.6 for name in wider.SUBSETS}
        name = f"event/{number}"
        marked.append(Marked(name, faces, counted))
        near = np.repeat(faces, 2, axis=0) + random.normal(0, 3, (2 * count, 4))
        near[:, 2:] = near[:, :2] + near[:, 2:].clip(1)
        stray = random.uniform(0, 80, (5, 4))
        stray[:, 2:] += stray[:, :2]
        boxes = np.concatenate([near, stray])
        # A few decimals, so that equal scores occur.
        scores = random.uniform(0.05, 0.95, len(boxes)).round(2)
        if number % 5:
            found[name] = Detections(boxes, scores)
    return found, marked


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("subset", wider.SUBSETS)
def test_the_curve_has_the_area_of_the_authors_own_tools(seed: int, subset: str) -> None:
    found, marked = random_run(seed)
    ours = wider.curves(found, marked)[subset].average_precision
    assert ours == pytest.approx(plain_protocol(found, marked, subset), abs=1e-12)


def one(faces: list[list[float]], counted: list[bool]) -> list[Marked]:
    mask = np.asarray(counted, np.bool_)
    return [Marked("a/b", np.asarray(faces, np.float64).reshape(-1, 4), {"hard": mask})]


def detections(*rows: tuple[list[float], float]) -> dict[str, Detections]:
    boxes = np.asarray([box for box, _ in rows], np.float64).reshape(-1, 4)
    return {"a/b": Detections(boxes, np.asarray([score for _, score in rows]))}


def test_finding_an_ignored_face_is_neither_right_nor_wrong() -> None:
    marked = one([[0, 0, 20, 20], [50, 50, 20, 20]], [True, False])
    found = detections(([50, 50, 70, 70], 0.9), ([0, 0, 20, 20], 0.5))
    curve = wider.curves(found, marked)["hard"]
    assert curve.average_precision == 1.0
    assert curve.faces == 1


def test_the_second_detection_of_a_face_is_wrong() -> None:
    marked = one([[0, 0, 20, 20], [50, 50, 20, 20]], [True, True])
    twice = detections(([0, 0, 20, 20], 0.9), ([0, 0, 21, 20], 0.8), ([50, 50, 70, 70], 0.5))
    assert wider.curves(twice, marked)["hard"].average_precision == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_an_image_without_detections_still_counts_its_faces() -> None:
    marked = one([[0, 0, 20, 20]], [True])
    curve = wider.curves({}, marked)["hard"]
    assert (curve.average_precision, curve.faces) == (0.0, 1)


def test_the_annotation_text_ignores_invalid_faces(tmp_path: Path) -> None:
    text = tmp_path / "wider_face_val_bbx_gt.txt"
    text.write_text(
        "a/b.jpg\n2\n1 2 30 40 0 0 0 0 0 0 \n5 6 7 8 0 0 0 1 0 0 \n"
        "c/d.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n"
    )
    first, second = wider.read_text(text)
    assert first.name == "a/b"
    assert first.faces.tolist() == [[1, 2, 30, 40], [5, 6, 7, 8]]
    assert first.counted["hard"].tolist() == [True, False]
    assert (second.name, len(second.faces)) == ("c/d", 0)


@pytest.mark.parametrize(
    "text", ["a/b.jpg\n", "a/b.jpg\nmany\n", "a/b.jpg\n1\n1 2 x 4\n", f"a/b.jpg\n1{'0' * 40}\n"]
)
def test_annotation_text_of_another_form_is_refused_with_the_line(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "gt.txt"
    path.write_text(text)
    with pytest.raises(GroundTruthError, match="near line 1"):
        wider.read_text(path)


def test_missing_mat_files_are_all_named(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="reading .mat files needs SciPy (extra evaluate)")
    with pytest.raises(GroundTruthError, match=r"wider_face_val\.mat.*wider_hard_val\.mat"):
        wider.read_mat(tmp_path)


@pytest.fixture
def ground_truth(tmp_path: Path) -> Path:
    """Four files of the official form: one event of one image with two faces."""
    scipy_io = pytest.importorskip("scipy.io", reason="reading .mat files needs SciPy")
    folder = tmp_path / "ground_truth"
    folder.mkdir()
    face = {
        "event_list": cell("0--Parade"),
        "file_list": cell(cell("a")),
        "face_bbx_list": cell(cell(np.asarray([[1.0, 2, 3, 4], [5, 6, 7, 8]]))),
    }
    scipy_io.savemat(folder / "wider_face_val.mat", face, do_compression=True)
    for number, subset in enumerate(wider.SUBSETS):
        kept = cell(cell(np.arange(1.0, number + 1)[:, None]))
        scipy_io.savemat(folder / f"wider_{subset}_val.mat", {"gt_list": kept}, do_compression=True)
    return folder


def cell(content: object) -> NDArray[np.object_]:
    """A MATLAB cell array [1, 1]."""
    array = np.empty((1, 1), np.object_)
    array[0, 0] = content
    return array


def refusal(folder: Path) -> str:
    """What read_mat says of a folder that it refuses, in one line."""
    with pytest.raises(GroundTruthError) as caught:
        wider.read_mat(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mat_files_say_which_faces_each_subset_counts(ground_truth: Path) -> None:
    (image,) = wider.read_mat(ground_truth)
    assert image.name == "0--Parade/a"
    assert image.faces.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    counted = {name: mask.tolist() for name, mask in image.counted.items()}
    assert counted == {"easy": [False, False], "medium": [True, False], "hard": [True, True]}


def test_a_mat_file_that_ends_too_early_is_named_wherever_it_ends(ground_truth: Path) -> None:
    path = ground_truth / "wider_hard_val.mat"
    whole = path.read_bytes()
    assert len(whole) > 150
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(ground_truth), length


def test_an_official_file_that_ends_too_early_is_named(shared: Path, ground_truth: Path) -> None:
    whole = (shared / "faces/wider/ground_truth/wider_face_val.mat").read_bytes()
    path = ground_truth / "wider_face_val.mat"
    for length in (1, 127, 200, 5_000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(ground_truth), length


HDF5 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "can't be read as a .mat file"),
        (b"<html><p>Quota exceeded</p></html>" * 20, "can't be read as a .mat file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "can't be read as a .mat file"),
        (HDF5 + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(500), "MATLAB 7.3 .* save it with -v7"),
    ],
)
def test_another_file_in_a_mat_files_place_is_named(
    ground_truth: Path, content: bytes, says: str
) -> None:
    path = ground_truth / "wider_easy_val.mat"
    path.write_bytes(content)
    assert re.search(f"{re.escape(str(path))}: .*{says}", refusal(ground_truth))


def test_a_mat_file_of_which_bytes_changed_is_named(ground_truth: Path) -> None:
    path = ground_truth / "wider_face_val.mat"
    content = bytearray(path.read_bytes())
    # In the checksum at the end of the last compressed variable.
    content[-1] ^= 0xFF
    path.write_bytes(content)
    assert "can't be read as a .mat file" in refusal(ground_truth)


def test_a_mat_file_without_its_variables_says_which(ground_truth: Path) -> None:
    shutil.copy(ground_truth / "wider_hard_val.mat", ground_truth / "wider_face_val.mat")
    said = refusal(ground_truth)
    assert "wider_face_val.mat: has no event_list, file_list, face_bbx_list" in said


@pytest.mark.parametrize(
    "value",
    [np.eye(3), "text", 7.0, np.empty((0, 0), np.object_)],
    ids=["matrix", "text", "number", "empty"],
)
@pytest.mark.parametrize("variable", ["event_list", "file_list", "face_bbx_list", "gt_list"])
def test_variables_of_another_form_are_refused(
    ground_truth: Path, variable: str, value: object
) -> None:
    replace(ground_truth, variable, value)
    assert re.search(r"are not WIDER FACE's|name no images", refusal(ground_truth))


@pytest.mark.parametrize(
    ("variable", "numbers"), [("gt_list", [[99.0]]), ("face_bbx_list", [[1.0, 2, 3]])]
)
def test_numbers_that_name_no_face_are_refused(
    ground_truth: Path, variable: str, numbers: list[list[float]]
) -> None:
    replace(ground_truth, variable, cell(cell(np.asarray(numbers))))
    assert "are not WIDER FACE's ground truth" in refusal(ground_truth)


def replace(folder: Path, variable: str, value: object) -> None:
    """Put another value into the file that has the variable."""
    from scipy.io import loadmat, savemat

    path = folder / f"wider_{'hard' if variable == 'gt_list' else 'face'}_val.mat"
    content = {name: each for name, each in loadmat(path).items() if not name.startswith("__")}
    savemat(path, {**content, variable: value})


def test_the_official_files_hold_what_their_authors_publish(shared: Path) -> None:
    pytest.importorskip("scipy", reason="reading .mat files needs SciPy (extra evaluate)")
    marked = wider.read_mat(shared / "faces/wider/ground_truth")
    assert len(marked) == 3226
    counts = [sum(int(image.counted[name].sum()) for image in marked) for name in wider.SUBSETS]
    assert counts == [7211, 13319, 31958]
