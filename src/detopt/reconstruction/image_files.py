"""Files of images: npz, HDF5 and VTK."""

__all__ = ["save_hdf5", "save_npz", "save_vtk"]

from pathlib import Path

import numpy as np

from detopt.errors import DomainError
from detopt.reconstruction.images import ScatteringImage


def save_npz(path: Path, image: ScatteringImage) -> None:
    """Write an image as `values`, `counts`, edges `x_edges`, ... [m], `quantity` and `unit`.

    Raises:
        DomainError: The image is not finite.
    """
    arrays = {"quantity": np.array(image.quantity), "unit": np.array(image.unit), **_arrays(image)}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def save_hdf5(path: Path, image: ScatteringImage) -> None:
    """Write an image as HDF5, like `save_npz`; quantity and unit are attributes of `values`.

    Raises:
        DomainError: The image is not finite.
    """
    import h5py  # slow to load

    arrays = _arrays(image)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip")
        file["values"].attrs["quantity"] = image.quantity
        file["values"].attrs["unit"] = image.unit


def save_vtk(path: Path, image: ScatteringImage) -> None:
    """Write an image as an XML file of VTK image data (.vti), which ParaView opens.

    Values and counts are cell data, appended in raw little-endian form; lengths are in metres.

    Raises:
        DomainError: The image is not finite.

    References:
        VTK file formats, docs.vtk.org, section "XML file formats".
    """
    arrays = {
        "values": _finite_values(image).astype("<f4"),
        "counts": image.counts.numpy().astype("<f4"),
    }
    nx, ny, nz = image.grid.shape
    extent = f"0 {nx} 0 {ny} 0 {nz}"
    entries, blocks, offset = [], [], 0
    for name, values in arrays.items():
        entries.append(
            f'<DataArray type="Float32" Name="{name}" format="appended" offset="{offset}"/>'
        )
        body = values.transpose(2, 1, 0).tobytes()  # x runs fastest
        blocks.append(np.array(len(body), dtype="<u8").tobytes() + body)
        offset += len(blocks[-1])
    origin, spacing = (" ".join(f"{v:.9g}" for v in t) for t in (image.grid.low, image.grid.voxel))
    head = (
        '<?xml version="1.0"?>\n'
        f"<!-- values: {image.label} -->\n"
        '<VTKFile type="ImageData" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n'
        f'<ImageData WholeExtent="{extent}" Origin="{origin}" Spacing="{spacing}">\n'
        f'<Piece Extent="{extent}">\n<CellData Scalars="values">\n'
        + "\n".join(entries)
        + '\n</CellData>\n</Piece>\n</ImageData>\n<AppendedData encoding="raw">\n_'
    )
    tail = "\n</AppendedData>\n</VTKFile>\n"
    path.write_bytes(head.encode() + b"".join(blocks) + tail.encode())


def _arrays(image: ScatteringImage) -> dict[str, np.ndarray]:
    arrays = {"values": _finite_values(image), "counts": image.counts.numpy()}
    for axis, name in enumerate("xyz"):
        arrays[f"{name}_edges"] = image.grid.edges(axis).numpy()
    return arrays


def _finite_values(image: ScatteringImage) -> np.ndarray:
    values = image.values.detach()
    bad = ~values.float().isfinite()  # some files are in single precision
    if bool(bad.any()):
        raise DomainError(
            f"{int(bad.sum()):,} of {bad.numel():,} values of the image are not finite, such as "
            f"{float(values[bad][0]):g}. Look for hits and momenta that are far from all others."
        )
    found: np.ndarray = values.numpy()
    return found
