"""Files and pictures of images."""

import math
import re
import xml.etree.ElementTree as ElementTree

import h5py
import numpy as np
import pytest
import torch

from detopt.errors import DomainError
from detopt.reconstruction import Grid, ScatteringImage, slice_figure
from detopt.reconstruction.image_files import save_hdf5, save_npz, save_vtk


@pytest.fixture
def image():
    grid = Grid((-0.2, 0.0, 1.0), (0.1, 0.2, 0.3), (2, 3, 4))
    values = torch.arange(24, dtype=torch.float64).reshape(2, 3, 4)
    counts = (values * 2).long()
    return ScatteringImage(grid, values, counts, "scattering density", "mrad2/cm")


def test_npz_holds_values_edges_and_unit(image, tmp_path):
    save_npz(tmp_path / "image.npz", image)
    with np.load(tmp_path / "image.npz") as file:
        np.testing.assert_array_equal(file["values"], image.values.numpy())
        np.testing.assert_array_equal(file["counts"], image.counts.numpy())
        np.testing.assert_allclose(file["z_edges"], [1.0, 1.3, 1.6, 1.9, 2.2])
        assert str(file["unit"]) == "mrad2/cm"


@pytest.mark.parametrize("save", [save_npz, save_hdf5, save_vtk])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e60])
def test_image_that_is_not_finite_is_refused(image, tmp_path, save, value):
    image.values[1, 2, 3] = value  # the last is too large for single precision
    with pytest.raises(DomainError, match="1 of 24 values of the image are not finite, such as"):
        save(tmp_path / "image", image)
    assert not list(tmp_path.iterdir())


def test_hdf5_holds_the_same(image, tmp_path):
    save_hdf5(tmp_path / "image.h5", image)
    with h5py.File(tmp_path / "image.h5") as file:
        np.testing.assert_array_equal(file["values"][:], image.values.numpy())
        np.testing.assert_allclose(file["x_edges"][:], [-0.2, -0.1, 0.0], atol=1e-12)
        assert file["values"].attrs["quantity"] == "scattering density"


def test_vtk_is_image_data_with_x_running_fastest(image, tmp_path):
    save_vtk(tmp_path / "image.vti", image)
    content = (tmp_path / "image.vti").read_bytes()
    head, _, rest = content.partition(b'encoding="raw">\n_')
    tree = ElementTree.fromstring(head + b'encoding="raw"></AppendedData></VTKFile>')
    data = tree.find("ImageData")
    assert data.get("WholeExtent") == "0 2 0 3 0 4"
    assert data.get("Origin") == "-0.2 0 1"
    assert data.get("Spacing") == "0.1 0.2 0.3"
    for entry, expected in zip(data.iter("DataArray"), (image.values, image.counts), strict=True):
        offset = int(entry.get("offset"))
        size = int(np.frombuffer(rest[offset : offset + 8], "<u8")[0])
        found = np.frombuffer(rest[offset + 8 : offset + 8 + size], "<f4").reshape(4, 3, 2)
        np.testing.assert_array_equal(found.transpose(2, 1, 0), expected.numpy())
    assert re.search(rb"\n</AppendedData>\n</VTKFile>\n$", content)


def test_picture_shows_three_slices_with_a_scale(image):
    figure = slice_figure(image, (-0.05, 0.5, 1.5))
    panels = figure.axes
    assert [panel.get_title() for panel in panels[:3]] == [
        "z = 1.450 m",
        "y = 0.500 m",
        "x = -0.050 m",
    ]
    assert panels[3].get_ylabel() == "scattering density [mrad2/cm]"
    np.testing.assert_array_equal(panels[0].images[0].get_array(), image.values[:, :, 1].T)


def test_picture_goes_through_the_brightest_region(image):
    assert slice_figure(image).axes[0].get_title() == "z = 2.050 m"


def test_label_of_a_pure_number_has_no_unit(image):
    bare = ScatteringImage(image.grid, image.values, image.counts, "score", "")
    assert bare.label == "score"


def test_point_outside_is_refused(image):
    with pytest.raises(DomainError, match="is outside the image"):
        slice_figure(image, (-0.05, 0.9, 1.5))
