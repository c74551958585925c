"""Maps over frames: which pixels of a frame a cell is drawn on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2d_fast.model.grad_cam import map_centres
from c2d_fast.reporting.heat_maps import HeatMaps

CELLS, SIZE = 7, 224
CENTRES = map_centres(SIZE, CELLS, temporal_pool=False) / SIZE


def heat_maps(maps, box=(0, 0, 1, 1), frames=None, **more):
    maps = np.asarray(maps, np.float32)
    return HeatMaps(
        np.arange(len(maps)) if frames is None else np.array(frames), maps, np.array(box, np.float32), CENTRES, **more
    )


def one_hot(row, column):
    maps = np.zeros((1, CELLS, CELLS))
    maps[0, row, column] = 1
    return maps


@given(
    row=st.integers(0, CELLS - 1), column=st.integers(0, CELLS - 1), flip=st.booleans(),
    height=st.integers(60, 400), width=st.integers(60, 400), box=st.tuples(*[st.floats(0, 0.4)] * 2, *[st.floats(0.6, 1)] * 2),
)  # fmt: skip
def test_a_cell_is_hottest_at_its_point_of_the_frame(row, column, flip, height, width, box):
    heat = heat_maps(one_hot(row, column), box, flip=flip).on_frame(0, height, width)
    x0, y0, x1, y1 = np.array(box, np.float32).astype(float)
    across = 1 - CENTRES[column] if flip else CENTRES[column]
    x, y = (x0 + across * (x1 - x0)) * width, (y0 + CENTRES[row] * (y1 - y0)) * height
    found = heat[max(int(y - 0.5), 0) : int(y - 0.5) + 2, max(int(x - 0.5), 0) : int(x - 0.5) + 2]
    assert found.max() == heat.max() > 0
    inside = heat >= 0
    ys, xs = np.nonzero(inside)
    assert (ys.min(), ys.max()) == (pytest.approx(y0 * height, abs=0.51), pytest.approx(y1 * height - 1, abs=0.51))
    assert (xs.min(), xs.max()) == (pytest.approx(x0 * width, abs=0.51), pytest.approx(x1 * width - 1, abs=0.51))


def test_between_cells_it_is_bilinear_and_beyond_them_flat():
    heat = heat_maps(one_hot(0, 2)).on_frame(0, SIZE, SIZE)
    assert heat[0, 64] == 1  # the cell's point is the middle of that pixel
    assert heat[16, 64] == heat[0, 48] == heat[0, 80] == 0.5
    assert not heat[32:].any()
    corner = heat_maps(one_hot(6, 6)).on_frame(0, SIZE, SIZE)
    assert (corner[192:, 192:] == 1).all()
    assert heat_maps(np.full((1, CELLS, CELLS), 0.25)).on_frame(0, 50, 70) == pytest.approx(0.25)


def test_a_frame_keeps_its_map_until_the_next_is_nearer():
    pictures = [np.full((56, 56, 3), 100, np.uint8)] * 12
    maps = np.stack([np.zeros((CELLS, CELLS)), np.ones((CELLS, CELLS))])
    heat = heat_maps(maps, frames=[2, 7])
    drawn = list(heat.draw_all(iter(pictures)))
    assert [bool((picture != 100).any()) for picture in drawn] == [False] * 3 + [True] * 3  # frames 2 to 7
    assert (heat.nearest(0), heat.nearest(4), heat.nearest(5), heat.nearest(11)) == (0, 0, 1, 1)


def test_what_is_cold_stays_as_it_is_and_what_was_not_seen_is_darker():
    picture = np.full((100, 200, 3), 200, np.uint8)
    drawn = heat_maps(one_hot(3, 3), (0.25, 0, 0.75, 1)).draw(picture, 0)
    assert (drawn[:, :50] == 100).all()
    assert (drawn[:, 150:] == 100).all()
    assert (drawn[:, 50:60] == 200).all()
    y, x = np.unravel_index((drawn[..., 0].astype(int) - drawn[..., 2]).argmax(), drawn.shape[:2])
    assert (y, x) == (pytest.approx(96 / 224 * 100, abs=1), pytest.approx(50 + 96 / 224 * 100, abs=1))


def test_a_stream_that_changes_its_size_ends_there():
    pictures = [np.zeros((56, 56, 3), np.uint8)] * 2 + [np.zeros((28, 28, 3), np.uint8)]
    assert len(list(heat_maps(np.zeros((3, CELLS, CELLS))).draw_all(iter(pictures)))) == 2
