"""PDF pages as the host's images, and the sample documents."""

import io
from pathlib import Path

import pytest
from PIL import Image
from reportlab.lib import pdfencrypt
from reportlab.pdfgen.canvas import Canvas

from hookcache_ops.pages import FIT_HEIGHT, FIT_WIDTH, UnreadableDocumentError, page_count, render
from loaded import loaded

DOCUMENTS = Path(__file__).resolve().parents[2] / "documents"
SAMPLES = {"statement.pdf": 3, "invoice.pdf": 2, "letter.pdf": 2}


def pdf(path: Path, *sizes: tuple[float, float], **settings: object) -> Path:
    """A PDF with one page of each size, in points."""
    canvas = Canvas(str(path), **settings)
    for width, height in sizes:
        canvas.setPageSize((width, height))
        canvas.drawString(20, 20, "page")
        canvas.showPage()
    canvas.save()
    return path


class TestImages:
    def test_pages_come_in_order_as_jpeg_of_the_hosts_size(self, tmp_path):
        """150 dpi shrunk to fit 951 by 1,268 without changing the shape; small pages are not enlarged."""
        document = pdf(tmp_path / "sizes.pdf", (612, 792), (792, 612), (144, 72))
        pages = list(render(document))

        assert [page.number for page in pages] == [1, 2, 3]
        assert [(page.width, page.height) for page in pages] == [(951, 1231), (951, 734), (300, 150)]
        for page in pages:
            image = Image.open(io.BytesIO(page.jpeg))
            assert ("JPEG", (page.width, page.height), "RGB") == (image.format, image.size, image.mode)

    def test_the_same_file_gives_the_same_bytes(self):
        """Image bytes are the key: a page rendered again must be the same image."""
        first, again = (list(render(DOCUMENTS / "letter.pdf")) for _ in range(2))
        assert first == again
        assert first[0].jpeg != first[1].jpeg

    def test_quality_is_95_and_nothing_is_added(self):
        """A JPEG of quality 95 has a quantisation table that starts with 2; no EXIF, so no time stamp."""
        image = Image.open(io.BytesIO(next(render(DOCUMENTS / "letter.pdf")).jpeg))
        assert image.quantization[0][0] == 2
        assert dict(image.getexif()) == {}

    def test_a_huge_page_is_rendered_at_the_size_it_is_shrunk_to(self, tmp_path):
        """A plan of 5 by 5 metres would need 900 million pixels at 150 dpi."""
        [page] = render(pdf(tmp_path / "plan.pdf", (14_000, 14_000)))
        assert (page.width, page.height) == (FIT_WIDTH, FIT_WIDTH)
        assert page.height <= FIT_HEIGHT


class TestBadDocuments:
    """Each of them is one line that names the file and what to do."""

    @pytest.mark.parametrize(
        ("content", "told"),
        [(b"", "not a PDF"), (b"hello", "not a PDF"), (b"%PDF-1.4\nrubbish", "not a PDF, or damaged")],
        ids=["empty", "text", "damaged"],
    )
    def test_what_is_no_pdf_is_told_so(self, tmp_path, content, told):
        path = tmp_path / "bad.pdf"
        path.write_bytes(content)
        self.refused(path, told, "give a PDF that opens in a viewer")

    def test_a_protected_pdf_is_told_how_to_unlock_it(self, tmp_path):
        locked = pdfencrypt.StandardEncryption("secret", ownerPassword="owner")
        self.refused(pdf(tmp_path / "locked.pdf", (612, 792), encrypt=locked), "password", "qpdf")

    def test_a_missing_file_and_a_folder_are_told_apart(self, tmp_path):
        self.refused(tmp_path / "none.pdf", "no such file", "give the path of a PDF")
        self.refused(tmp_path, "a folder", "give the path of one PDF")

    @staticmethod
    def refused(path: Path, *told: str) -> None:
        for use in (page_count, lambda path: list(render(path))):
            with pytest.raises(UnreadableDocumentError) as error:
                use(path)
            text = str(error.value)
            assert text.startswith(str(path))
            assert "\n" not in text
            for part in told:
                assert part in text


class TestSamples:
    @pytest.mark.parametrize(("name", "pages"), SAMPLES.items())
    def test_samples_are_small_and_have_their_pages(self, name, pages):
        path = DOCUMENTS / name
        assert path.stat().st_size < 200 * 1024
        assert pages == page_count(path)

    def test_no_two_pages_are_alike(self):
        """A demo with equal pages would show hits in its first pass."""
        images = [page.jpeg for name in SAMPLES for page in render(DOCUMENTS / name)]
        assert sum(SAMPLES.values()) == len(set(images))

    def test_the_generator_draws_what_is_committed(self, tmp_path):
        """Compared as pictures, since compressors differ between builds of Python."""
        drawn = loaded(DOCUMENTS / "generate.py", "sample_documents").generate(tmp_path)
        assert sorted(SAMPLES) == sorted(path.name for path in drawn)
        for path in drawn:
            assert list(render(DOCUMENTS / path.name)) == list(render(path)), f"run documents/generate.py: {path.name}"
