"""The results of `sfd evaluate` as text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.evaluation.recall import ATTRIBUTES_FROM

Result = Mapping[str, Any]


def lines(results: Sequence[Result], comparisons: Sequence[Result] = ()) -> Iterator[str]:
    """The whole report, line by line."""
    if results[0]["protocol"] == "closeup":
        yield from _closeup(results)
    elif len(results) == 1:
        yield from _one(results[0])
    else:
        yield from _several(results, comparisons)
    yield f"{sum(each['seconds'] for each in results):.2f} s, peak {results[-1]['peak_mib']} MiB"


def _one(result: Result) -> Iterator[str]:
    yield f"{result['model']['name']} {result['model']['version']}, {result['protocol']}"
    yield _images(result)
    score = result["default_score"]
    yield (
        f"{'':8}{'AP':>8}{'faces':>8}{f'precision at {score}':>20}{f'recall at {score}':>20}"
        f"{'best F1 at':>12}"
    )
    for name, subset in result["subsets"].items():
        yield (
            f"{name:8}{subset['average_precision']:8.4f}{subset['faces']:8}"
            f"{subset['precision_at_default_score']:20.4f}{subset['recall_at_default_score']:20.4f}"
            f"{subset['best_f1_score']:12.3f}"
        )
    yield from _recalls([result])
    yield from _false_boxes([result])


def _several(results: Sequence[Result], comparisons: Sequence[Result]) -> Iterator[str]:
    yield f"{results[0]['protocol']}, {_images(results[0])}"
    width = _width(results)
    subsets = list(results[0]["subsets"])
    yield " " * width + "".join(f"{f'AP {name}':>12}" for name in subsets)
    for each in results:
        values = (each["subsets"][name]["average_precision"] for name in subsets)
        yield f"{each['model']['name']:{width}}" + "".join(f"{value:12.4f}" for value in values)
    for each in comparisons:
        better = ", ".join(f"{name} {value:.3f}" for name, value in each["better"].items())
        yield f"P({each['models'][0]} better than {each['models'][1]}): {better}"
    yield from _recalls(results)
    yield from _false_boxes(results)


def _recalls(results: Sequence[Result]) -> Iterator[str]:
    """The recall of each group that has faces; a column for each detector."""
    width = max(24, *(len(each["model"]["name"]) + 2 for each in results))
    names = "".join(
        f"{each['model']['name'] if len(results) > 1 else 'found':>{width}}" for each in results
    )
    yield f"{'recall':24}{'faces':>8}{names}"
    scores = "".join(f"{each['recall']['score']:{width}}" for each in results)
    yield f"{'  at the score':32}{scores}"
    groups = results[0]["recall"]
    for kind, group in groups.items():
        if kind == "score":
            continue
        if kind == "blur":
            yield f"  of faces of at least {ATTRIBUTES_FROM} px:"
        titles = [None] if kind == "all" else list(group)
        for title in titles:
            cells = [
                each["recall"][kind] if title is None else each["recall"][kind][title]
                for each in results
            ]
            if cells[0]["faces"]:
                unit = " px" if kind == "height" else ""
                label = f"{kind} {title or ''}{unit}".strip()
                shown = "".join(f"{cell['recall']:{width}.3f}" for cell in cells)
                yield f"{label:24}{cells[0]['faces']:8}{shown}"


def _false_boxes(results: Sequence[Result]) -> Iterator[str]:
    for each in results:
        empty = each.get("false_boxes")
        if empty:
            recalls = ", ".join(
                f"{count} at recall {at}" for at, count in empty["at_recall"].items()
            )
            yield (
                f"{each['model']['name']}: {empty['boxes']} false boxes at {empty['score']} on "
                f"{empty['images']} images without faces" + (f"; {recalls}" if recalls else "")
            )


def _closeup(results: Sequence[Result]) -> Iterator[str]:
    yield f"closeup, {results[0]['faces']} faces; found, and boxes drawn, by share of the height"
    width = max(_width(results), len("really, median") + 2)
    yield " " * width + "".join(f"{row['share']:>14}" for row in results[0]["shares"])
    medians = "".join(f"{row['median_share']:>14}" for row in results[0]["shares"])
    yield f"{'really, median':{width}}{medians}"
    for each in results:
        cells = "".join(f"{row['found']:8.2f}{row['boxes']:6.2f}" for row in each["shares"])
        yield f"{each['model']['name']:{width}}{cells}"


def _images(result: Result) -> str:
    left_out = f", {result['images_missing']} missing" * bool(result["images_missing"])
    return f"{result['rules']}; {result['images']} images{left_out}"


def _width(results: Sequence[Result]) -> int:
    return max(len(each["model"]["name"]) for each in results) + 2
