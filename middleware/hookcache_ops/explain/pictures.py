"""Two page images that differ in bytes: the same picture encoded anew, or another picture?"""

from __future__ import annotations

import io

NEARLY = 6.0
"""Mean difference of a pixel, of 255, up to which two pictures of one size are one: another JPEG quality gives 1 to 3."""


def compared(one: bytes, other: bytes) -> tuple[str, str]:
    """
    A cause's name (`image_reencoded` or empty), and what can be said.

    Pixels are compared if Pillow is installed; without it, bytes are all there is to say.
    """
    sizes = f"{len(one):,} and {len(other):,} bytes"
    try:
        from PIL import Image, ImageChops, ImageStat, UnidentifiedImageError
    except ImportError:
        return "", f"the bytes differ ({sizes}); with Pillow installed the pixels are compared too"
    try:
        with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
            a, b = first.convert("RGB"), second.convert("RGB")
            formats = f"{first.format} and {second.format}"
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return "", f"the bytes differ ({sizes}), and one of them is no picture that can be read"
    if a.size != b.size:
        if _nearly(a.resize((256, 256)), b.resize((256, 256)), ImageChops, ImageStat) <= 2 * NEARLY:
            return "image_reencoded", f"the same picture at another size: {a.width}x{a.height} and {b.width}x{b.height}"
        return "", f"another picture: {a.width}x{a.height} and {b.width}x{b.height}"
    mean = _nearly(a, b, ImageChops, ImageStat)
    if mean == 0:
        return "image_reencoded", f"the same pixels encoded anew ({formats}, {sizes})"
    if mean <= NEARLY:
        return (
            "image_reencoded",
            f"nearly the same pixels (mean difference {mean:.1f} of 255): encoded anew ({formats}, {sizes})",
        )
    return "", f"another picture of the same size (mean difference {mean:.0f} of 255)"


def _nearly(one: object, other: object, chops: object, stat: object) -> float:
    difference = chops.difference(one, other)  # type: ignore[attr-defined]
    means = stat.Stat(difference).mean  # type: ignore[attr-defined]
    return float(sum(means) / len(means))
