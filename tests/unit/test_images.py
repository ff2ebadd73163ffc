"""The documents refer to pictures that exist, and to all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pictures import ASSET_PICTURES, PICTURES

ROOT = Path(__file__).parent.parent.parent
IMAGES = ROOT / "docs" / "images"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)|<img [^>]*src=\"([^\"]+)")


def referred_to() -> Iterator[tuple[Path, Path]]:
    """Every document with each image in it; those elsewhere are not ours."""
    for document in DOCUMENTS:
        for found in REFERENCE.finditer(document.read_text(encoding="utf-8")):
            target = found[1] or found[2]
            if "://" not in target:
                yield document, (document.parent / target).resolve()


def test_images_of_documents_exist() -> None:
    missing = [
        (document.name, image.name) for document, image in referred_to() if not image.exists()
    ]
    assert not missing


def test_images_are_referred_to() -> None:
    assert set(IMAGES.iterdir()) == {image for _, image in referred_to() if image.parent == IMAGES}


def test_images_are_those_that_are_taken() -> None:
    assert {image.name for image in IMAGES.glob("*.png")} == {*PICTURES, *ASSET_PICTURES}


@pytest.mark.parametrize("name", [*PICTURES, *ASSET_PICTURES])
def test_image_is_small_enough_for_a_repository(name: str) -> None:
    assert (IMAGES / name).stat().st_size < 250_000
