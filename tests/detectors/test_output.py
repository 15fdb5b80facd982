"""The places where ultralytics' own reading of an output fails open."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blurline.detectors import output, quiet
from blurline.detectors.output import Reading
from blurline.detectors.results import Failure
from blurline.errors import BlurlineError

quiet.ultralytics()
torch = pytest.importorskip("torch")


def reading(**changes: Any) -> Reading:
    settings: dict[str, Any] = {
        "classes": 1,
        "wanted": [0],
        "candidate": 0.1,
        "nms_iou": 0.4,
        "end2end": False,
        "exact": True,
    }
    return Reading(**(settings | changes))


def apart(count: int, score: float = 0.9) -> Any:
    """Boxes of 4 x 4 pixels that do not touch, on a grid: (1, 5, count)."""
    columns = 500
    index = np.arange(count)
    cells = [index % columns * 8 + 4, index // columns * 8 + 4, np.full(count, 4), np.full(count, 4)]
    return torch.tensor(np.array([*cells, np.full(count, score)], np.float32))[None]


def boxes(answer: NDArray[np.float64] | Failure) -> NDArray[np.float64]:
    assert not isinstance(answer, Failure), answer
    return answer


def test_a_box_keeps_its_place_score_and_class() -> None:
    cells = torch.tensor([[[100.0], [50.0], [20.0], [10.0], [0.25], [0.75]]])
    (found,) = boxes(output.read(cells, reading(classes=2, wanted=[0, 1])))
    assert found.tolist() == [90, 45, 110, 55, 0.75, 1]


def test_more_than_300_boxes_and_more_than_30000_candidates_are_kept() -> None:
    assert len(boxes(output.read(apart(301), reading()))) == 301
    assert len(boxes(output.read(apart(30_500), reading()))) == 30_500


def test_slow_suppression_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.utils import nms

    class Slow:
        now = 0.0

        def time(self) -> float:
            self.now += 1e6
            return self.now

    monkeypatch.setattr(nms, "time", Slow())
    assert len(boxes(output.read(apart(20), reading()))) == 20


@pytest.mark.parametrize("left", [0, 21])
def test_suppression_that_loses_boxes_is_a_failure(monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    from ultralytics.utils import nms

    monkeypatch.setattr(nms, "non_max_suppression", lambda *_, **__: [torch.full((left, 6), 0.9)])
    assert isinstance(output.read(apart(20), reading()), Failure)


def test_six_cells_are_not_taken_for_an_end_to_end_output() -> None:
    assert len(boxes(output.read(apart(6), reading()))) == 6


def test_a_wanted_class_counts_where_another_scores_higher() -> None:
    cells = torch.tensor([[[100.0], [50.0], [20.0], [10.0], [0.9], [0.5]]])
    (found,) = boxes(output.read(cells, reading(classes=2, wanted=[1])))
    assert found[4:].tolist() == [0.5, 1]


def test_one_class_does_not_suppress_another() -> None:
    cells = torch.tensor([[[9e5] * 2, [50.0] * 2, [20.0] * 2, [10.0] * 2, [0.9, 0.1], [0.1, 0.8]]])
    assert len(boxes(output.read(cells, reading(classes=2, wanted=[0, 1])))) == 2
    cells[0, 4:] = torch.tensor([[0.9, 0.8], [0.0, 0.0]])
    assert len(boxes(output.read(cells, reading(classes=2, wanted=[0, 1])))) == 1


def test_the_candidate_score_itself_counts() -> None:
    assert len(boxes(output.read(apart(1, 0.1), reading(candidate=0.1)))) == 1
    assert len(boxes(output.read(apart(1, 0.0999), reading(candidate=0.1)))) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 7.0])
@pytest.mark.parametrize("end2end", [False, True])
def test_a_score_that_is_none_is_a_failure(bad: float, end2end: bool) -> None:
    cells = apart(20)
    cells[0, 4, 13] = bad
    rows = torch.cat([cells, torch.zeros(1, 1, 20)], 1).transpose(1, 2)
    answer = output.read(rows if end2end else cells, reading(end2end=end2end))
    assert isinstance(answer, Failure) and "score" in answer.reason


def test_a_box_at_no_place_is_a_failure_where_it_counts() -> None:
    cells = apart(20)
    cells[0, 2, 13] = float("inf")
    assert isinstance(output.read(cells, reading()), Failure)
    cells[0, 4, 13] = 0.01
    assert len(boxes(output.read(cells, reading()))) == 19


def chosen(scores: list[float]) -> Any:
    rows = [[8.0 * i, 0.0, 8.0 * i + 4, 4.0, score, i % 2] for i, score in enumerate(scores)]
    return torch.tensor([rows])


def test_an_end_to_end_model_with_room_left() -> None:
    found = boxes(output.read(chosen([0.9, 0.8, 0.05]), reading(classes=2, wanted=[1], end2end=True)))
    assert found[:, 4].round(3).tolist() == [0.8]


def test_an_end_to_end_model_without_room_left_may_have_dropped_a_face() -> None:
    # The other class fills it: the wanted one may have been crowded out.
    answer = output.read(chosen([0.9, 0.8, 0.7]), reading(classes=2, wanted=[1], end2end=True))
    assert isinstance(answer, Failure) and "3 boxes" in answer.reason


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((1, 300, 6), {}),
        ((1, 84, 100), {}),
        ((2, 5, 10), {}),
        ((5, 10), {}),
        ((1, 5, 100), {"end2end": True}),
        ((1, 5, 100), {"classes": 2, "exact": False}),
    ],
)
def test_an_output_of_another_kind_is_refused(shape: tuple[int, ...], changes: dict[str, Any]) -> None:
    with pytest.raises(BlurlineError, match="shape"):
        output.read(torch.zeros(shape), reading(**changes))


def test_key_points_and_masks_may_follow() -> None:
    cells = torch.cat([apart(20), torch.full((1, 32, 20), 500.0)], 1)
    assert len(boxes(output.read(cells, reading(exact=False)))) == 20
