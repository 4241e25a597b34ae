"""
Draws the sample documents of this folder: a bank statement, an invoice and a claim letter with its form.

    .venv/bin/python documents/generate.py [FOLDER]

Everything in them is invented: companies, people, accounts, sums. The fonts (Bitstream Vera, which comes with
reportlab) are embedded, so that pages look the same on every machine; nothing depends on the date or the machine.
"""

import argparse
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from reportlab.lib.colors import Color, HexColor, black, white
from reportlab.lib.pagesizes import A4, LETTER
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

TEXT, BOLD, ITALIC = "Vera", "VeraBd", "VeraIt"
GREY, RULE = HexColor("#555555"), HexColor("#9aa3ad")
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, left edge and width in points, numbers set to the right."""

    heading: str
    left: float
    width: float
    number: bool = False


class Sheet:
    """The page under the pen: positions are points from the left and from the top, as one reads."""

    def __init__(self, canvas: Canvas, size: tuple[float, float]) -> None:
        self.canvas = canvas
        self.width, self.height = size

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        font: str = TEXT,
        size: float = 9,
        color: Color = black,
        right: bool = False,
    ) -> None:
        self.canvas.setFont(font, size)
        self.canvas.setFillColor(color)
        draw = self.canvas.drawRightString if right else self.canvas.drawString
        draw(x, self.height - y, text)

    def lines(self, x: float, y: float, lines: Sequence[str], *, size: float = 9) -> float:
        """Several lines below each other; the position under the last one."""
        for line in lines:
            self.text(x, y, line, size=size)
            y += 13
        return y

    def paragraph(self, x: float, y: float, width: float, text: str) -> float:
        """Text broken at spaces to fit `width`."""
        line, size, step = "", 9.5, 14
        for word in text.split():
            longer = f"{line} {word}".strip()
            if pdfmetrics.stringWidth(longer, TEXT, size) > width:
                self.text(x, y, line, size=size)
                y, longer = y + step, word
            line = longer
        self.text(x, y, line, size=size)
        return y + step

    def rule(self, x: float, y: float, width: float, *, color: Color = RULE, thick: float = 0.6) -> None:
        self.canvas.setStrokeColor(color)
        self.canvas.setLineWidth(thick)
        self.canvas.line(x, self.height - y, x + width, self.height - y)

    def box(
        self, x: float, y: float, width: float, height: float, *, fill: Color | None = None, edge: Color = RULE
    ) -> None:
        self.canvas.setStrokeColor(edge)
        self.canvas.setLineWidth(0.6)
        if fill is not None:
            self.canvas.setFillColor(fill)
        self.canvas.rect(x, self.height - y - height, width, height, stroke=1, fill=int(fill is not None))

    def field(self, x: float, y: float, width: float, label: str, value: str) -> None:
        """A box of a form with its small label and what was filled in."""
        self.box(x, y, width, 32)
        self.text(x + 4, y + 10, label, size=6.5, color=GREY)
        self.text(x + 6, y + 25, value, size=9.5)

    def tick(self, x: float, y: float, label: str, *, ticked: bool) -> None:
        self.box(x, y - 8, 9, 9, edge=black)
        if ticked:
            self.canvas.setStrokeColor(black)
            self.canvas.setLineWidth(1.2)
            self.canvas.lines(
                [
                    (x + 1.5, self.height - y + 4, x + 4, self.height - y + 1),
                    (x + 4, self.height - y + 1, x + 8.5, self.height - y + 8),
                ]
            )
        self.text(x + 14, y, label)

    def table_head(self, y: float, columns: Sequence[Column], fill: Color) -> None:
        left, right = columns[0].left, columns[-1].left + columns[-1].width
        self.box(left - 4, y - 11, right - left + 8, 16, fill=fill, edge=fill)
        for column in columns:
            x = column.left + column.width if column.number else column.left
            self.text(x, y, column.heading, font=BOLD, size=8, color=white, right=column.number)

    def table_row(self, y: float, columns: Sequence[Column], cells: Sequence[str]) -> None:
        for column, cell in zip(columns, cells, strict=True):
            x = column.left + column.width if column.number else column.left
            self.text(x, y, cell, size=8.5, right=column.number)

    def signature(self, x: float, y: float, seed: int) -> None:
        """A scrawl, the same one for the same seed."""
        pen = random.Random(seed)
        path = self.canvas.beginPath()
        at_x, at_y = x, self.height - y
        path.moveTo(at_x, at_y)
        for _ in range(9):
            bend = [(at_x + pen.uniform(-2, 12), at_y + pen.uniform(-14, 16)) for _ in range(2)]
            at_x += pen.uniform(7, 14)
            path.curveTo(*bend[0], *bend[1], at_x, self.height - y + pen.uniform(-3, 3))
        self.canvas.setStrokeColor(HexColor("#1d2f6f"))
        self.canvas.setLineWidth(1.1)
        self.canvas.drawPath(path)


def money(amount: Decimal) -> str:
    return f"{amount.quantize(CENT):,}"


# -- the statement ---------------------------------------------------------------------------------------------------

NAVY = HexColor("#1c3557")
STATEMENT_COLUMNS = (
    Column("Date", 48, 60),
    Column("Description", 112, 210),
    Column("Reference", 326, 70),
    Column("Paid out", 392, 52, number=True),
    Column("Paid in", 448, 52, number=True),
    Column("Balance", 504, 60, number=True),
)
PAYMENTS = (
    ("Card payment  Millbank Grocers", 18, 96),
    ("Direct debit  Thornlea Water", 32, 38),
    ("Direct debit  Castell Energy", 84, 131),
    ("Card payment  Pennyroyal Books", 9, 44),
    ("Cash withdrawal  High Street", 20, 120),
    ("Card payment  Lantern Coffee House", 3, 12),
    ("Online transfer  R. Okonedo-Lindqvist", 40, 260),
    ("Card payment  Wexcombe Rail", 14, 78),
    ("Direct debit  Brightfold Insurance", 41, 41),
)
RENT = ("Standing order  Rent, 14 Ashdown Row", 980, 980)


def _transactions() -> Iterator[tuple[str, ...]]:
    """Rows of the statement, with a balance that adds up from row to row."""
    draw = random.Random(20260301)
    balance, day = Decimal("2418.36"), date(2026, 2, 2)
    for number in range(68):
        day += timedelta(days=draw.choice((0, 0, 1)))
        reference = f"{draw.randrange(10**7, 10**8)}"
        if number in (21, 53):
            amount = Decimal("2765.40")
            balance += amount
            yield f"{day:%d %b %Y}", "Salary  Orrin & Tate Surveyors", reference, "", money(amount), money(balance)
            continue
        what, low, high = RENT if number in (3, 38) else draw.choice(PAYMENTS)
        amount = Decimal(draw.randint(low * 100, high * 100)) / 100
        balance -= amount
        yield f"{day:%d %b %Y}", what, reference, money(amount), "", money(balance)


def statement(canvas: Canvas) -> None:
    """Three pages of a current account: summary and transactions, transactions, transactions and notices."""
    rows = list(_transactions())
    for number, part in enumerate((rows[:24], rows[24:56], rows[56:]), start=1):
        sheet = Sheet(canvas, LETTER)
        sheet.box(44, 30, 26, 26, fill=NAVY, edge=NAVY)
        sheet.text(51, 50, "A", font=BOLD, size=18, color=white)
        sheet.text(80, 46, "Alderbrook Savings Bank", font=BOLD, size=16, color=NAVY)
        sheet.text(80, 58, "27 Quay Parade, Port Alder  ·  Service line 555-0142", size=8, color=GREY)
        sheet.text(566, 46, "Account statement", size=11, right=True)
        sheet.text(566, 58, f"Page {number} of 3", size=8, color=GREY, right=True)
        y = _statement_summary(sheet) if number == 1 else 92.0
        sheet.table_head(y, STATEMENT_COLUMNS, NAVY)
        for row in part:
            y += 18
            sheet.table_row(y, STATEMENT_COLUMNS, row)
            sheet.rule(44, y + 5, 524, thick=0.3)
        if number == 3:
            _statement_notices(sheet, y + 30, rows)
        sheet.text(44, 768, "Alderbrook Savings Bank is an invented company. Sort code 00-11-22.", size=7, color=GREY)
        canvas.showPage()


def _statement_summary(sheet: Sheet) -> float:
    sheet.lines(48, 96, ("Ms Philippa Marchetti-Oduya", "14 Ashdown Row", "Port Alder  PA4 7QX"), size=10)
    sheet.box(330, 84, 238, 86, fill=HexColor("#eef2f7"))
    facts = (
        ("Account number", "4471 0093 28"),
        ("Statement period", "2 Feb 2026 - 31 Mar 2026"),
        ("Opening balance", "2,418.36"),
        ("Overdraft limit", "500.00"),
        ("Currency", "GBP"),
    )
    for step, (label, value) in enumerate(facts):
        sheet.text(340, 100 + 15 * step, label, size=8.5, color=GREY)
        sheet.text(558, 100 + 15 * step, value, font=BOLD, size=8.5, right=True)
    sheet.text(48, 206, "Your transactions", font=BOLD, size=12, color=NAVY)
    return 232.0


def _statement_notices(sheet: Sheet, y: float, rows: Sequence[Sequence[str]]) -> None:
    paid_out = sum((Decimal(row[3].replace(",", "")) for row in rows if row[3]), Decimal(0))
    paid_in = sum((Decimal(row[4].replace(",", "")) for row in rows if row[4]), Decimal(0))
    sheet.box(330, y, 238, 56, fill=HexColor("#eef2f7"))
    for step, (label, value) in enumerate((("Total paid out", paid_out), ("Total paid in", paid_in))):
        sheet.text(340, y + 16 + 15 * step, label, size=8.5, color=GREY)
        sheet.text(558, y + 16 + 15 * step, money(value), font=BOLD, size=8.5, right=True)
    sheet.text(340, y + 47, "Closing balance", font=BOLD, size=9)
    sheet.text(558, y + 47, rows[-1][5], font=BOLD, size=9, right=True)
    y += 92
    sheet.text(48, y, "About your account", font=BOLD, size=12, color=NAVY)
    for notice in (
        (
            "Interest on credit balances is 1.15% a year, worked out daily and paid on the last day of each quarter. "
            "Arranged overdrafts are charged at 19.4% a year; the first 25.00 of each day are free of charge."
        ),
        (
            "Please check this statement at once. If an entry is not yours, call the service line within 13 months and "
            "name the reference beside it. We never ask for your full card number or password on the telephone."
        ),
        "From 1 May 2026 the fee for cash withdrawals abroad falls from 2.75% to 1.90%, at least 1.50.",
    ):
        y = sheet.paragraph(48, y + 20, 512, notice)


# -- the invoice -----------------------------------------------------------------------------------------------------

TEAL = HexColor("#0f5f5c")
INVOICE_COLUMNS = (
    Column("Pos", 48, 24),
    Column("Article", 80, 62),
    Column("Description", 148, 200),
    Column("Qty", 352, 30, number=True),
    Column("Unit price", 392, 70, number=True),
    Column("Amount", 472, 76, number=True),
)
ARTICLES = (
    ("TH-1180", "Pressure transmitter 0-16 bar", "214.50"),
    ("TH-2031", "Thermocouple type K, 150 mm", "38.90"),
    ("TH-0417", "Mounting flange DN 50, steel", "61.25"),
    ("TH-3302", "Signal isolator, two channels", "129.00"),
    ("TH-5526", "Calibration certificate, ISO 17025", "85.00"),
    ("TH-0090", "Shielded cable 4 x 0.5 mm, per metre", "2.35"),
    ("TH-7714", "Flow meter, ultrasonic, DN 80", "1,490.00"),
    ("TH-6003", "Panel display 96 x 48 mm", "172.40"),
)


def invoice(canvas: Canvas) -> None:
    """Two pages: addresses and items; the rest of the items, totals and a payment slip."""
    draw = random.Random(88017)
    rows, total = [], Decimal(0)
    for number in range(1, 33):
        article, what, price = ARTICLES[draw.randrange(len(ARTICLES))]
        count = draw.choice((1, 2, 2, 4, 5, 10, 25))
        amount = Decimal(price.replace(",", "")) * count
        total += amount
        rows.append((str(number), article, what, str(count), price, money(amount)))
    for number, part in enumerate((rows[:22], rows[22:]), start=1):
        sheet = Sheet(canvas, A4)
        sheet.text(48, 56, "TARN & HOLLIS", font=BOLD, size=17, color=TEAL)
        sheet.text(48, 70, "Measuring instruments", font=ITALIC, size=9, color=GREY)
        sheet.text(548, 56, "INVOICE", font=BOLD, size=17, right=True)
        sheet.text(548, 70, f"Page {number} / 2", size=8, color=GREY, right=True)
        sheet.rule(48, 80, 500, color=TEAL, thick=1.5)
        y = _invoice_head(sheet) if number == 1 else 112.0
        sheet.table_head(y, INVOICE_COLUMNS, TEAL)
        for row in part:
            y += 20
            sheet.table_row(y, INVOICE_COLUMNS, row)
        if number == 2:
            _invoice_totals(sheet, y + 14, total)
        sheet.text(
            48,
            812,
            "Tarn & Hollis is an invented company. Registered as no. 00000000. VAT no. XX000000000",
            size=7,
            color=GREY,
        )
        canvas.showPage()


def _invoice_head(sheet: Sheet) -> float:
    sheet.lines(
        48,
        112,
        ("Ravenscar Water Works", "Purchasing, Mr. T. Abernathy-Sow", "Pump House Lane 3", "Ravenscar  RV1 9ZZ"),
    )
    for step, (label, value) in enumerate(
        (
            ("Invoice number", "INV-2026-004417"),
            ("Invoice date", "12 March 2026"),
            ("Customer number", "C-30958"),
            ("Your order", "PO 7782-B of 27 February 2026"),
            ("Delivery note", "DN-118204"),
            ("Due date", "11 April 2026"),
        )
    ):
        sheet.text(330, 112 + 14 * step, label, size=8.5, color=GREY)
        sheet.text(548, 112 + 14 * step, value, size=8.5, right=True)
    sheet.paragraph(
        48, 214, 500, "Thank you for your order. We invoice the following goods and services, in EUR without VAT."
    )
    return 256.0


def _invoice_totals(sheet: Sheet, y: float, total: Decimal) -> None:
    discount = (total * Decimal("0.03")).quantize(CENT)
    freight = Decimal("48.00")
    net = total - discount + freight
    tax = (net * Decimal("0.19")).quantize(CENT)
    sheet.rule(330, y - 8, 218)
    for label, amount in (
        ("Sum of items", money(total)),
        ("Discount 3%", f"-{money(discount)}"),
        ("Freight and packing", money(freight)),
        ("Net amount", money(net)),
        ("VAT 19%", money(tax)),
    ):
        y += 15
        sheet.text(336, y - 8, label)
        sheet.text(548, y - 8, amount, right=True)
    sheet.box(330, y, 218, 22, fill=HexColor("#e3f0ef"), edge=TEAL)
    sheet.text(336, y + 15, "Total due (EUR)", font=BOLD, size=10)
    sheet.text(544, y + 15, money(net + tax), font=BOLD, size=10, right=True)
    y = sheet.paragraph(
        48,
        y + 50,
        500,
        "Payment within 30 days without deduction. Goods remain our property until they are paid in full.",
    )
    y = max(y + 30, 590.0)
    sheet.canvas.setDash(3, 3)
    sheet.rule(30, y, 535)
    sheet.canvas.setDash()
    sheet.text(48, y + 24, "PAYMENT SLIP", font=BOLD, size=10)
    sheet.field(48, y + 34, 300, "Payee", "Tarn & Hollis, Instrument Works")
    sheet.field(356, y + 34, 192, "Amount EUR", money(net + tax))
    sheet.field(48, y + 70, 300, "IBAN", "XX00 0000 4417 0000 8801 70")
    sheet.field(356, y + 70, 192, "BIC", "TARNXX00")
    sheet.field(48, y + 106, 500, "Reference", "INV-2026-004417 / C-30958")


# -- the letter ------------------------------------------------------------------------------------------------------

PLUM = HexColor("#5a2a56")


def letter(canvas: Canvas) -> None:
    """Two pages: a letter about a claim, and the filled-in claim form that it refers to."""
    sheet = Sheet(canvas, LETTER)
    _letterhead(sheet, "1 of 2")
    sheet.lines(72, 128, ("Dr. Ansel Whitcombe-Rao", "The Old Forge, Mill Lane", "Upper Sedley  US8 2LD"), size=10)
    sheet.text(540, 128, "20 March 2026", size=10, right=True)
    sheet.text(540, 142, "Our reference: HC/55-20917", size=9, right=True)
    sheet.text(72, 206, "Your claim for water damage of 4 March 2026", font=BOLD, size=11.5)
    y = 232.0
    for text in (
        "Dear Dr. Whitcombe-Rao,",
        (
            "Thank you for your claim form, which reached us on 11 March, and for the photographs of the kitchen and the "
            "cellar. Our surveyor, Ms. Ingrid Falkenrath, visited the house on 16 March and confirmed that the damage was "
            "caused by a burst supply pipe behind the kitchen wall."
        ),
        (
            "Under section 3, paragraph 2 of your household policy QM-771-30442 we cover the repair of the building, the "
            "replacement of damaged fixtures and up to 14 days of other accommodation. The pipe itself is not covered, as "
            "its wear was recorded in the inspection report of October 2024."
        ),
        "We have therefore agreed the following sums:",
    ):
        y = sheet.paragraph(72, y, 468, text) + 8
    for label, amount in (
        ("Repair of wall, floor and ceiling", "3,860.00"),
        ("Kitchen units and worktop", "2,145.50"),
        ("Drying equipment, 12 days", "624.00"),
        ("Accommodation, 6 nights", "738.00"),
        ("Less your excess", "-250.00"),
    ):
        sheet.text(96, y, label, size=9.5)
        sheet.text(480, y, amount, size=9.5, right=True)
        y += 16
    sheet.rule(96, y - 9, 384)
    sheet.text(96, y + 4, "Payable to you", font=BOLD, size=10)
    sheet.text(480, y + 4, "7,117.50", font=BOLD, size=10, right=True)
    y += 34
    for text in (
        (
            "The sum will be paid to your account ending in 3328 within five working days of your agreement. Please sign "
            "the enclosed copy of the claim form, part D, and return it by 17 April 2026."
        ),
        (
            "If you do not agree, you may ask for a second survey at no cost to you. Call 555-0177 or write to us; please "
            "quote the reference above."
        ),
        "Yours sincerely,",
    ):
        y = sheet.paragraph(72, y, 468, text) + 8
    sheet.signature(72, y + 24, 7)
    sheet.lines(72, y + 54, ("Beatrix Langstrom", "Claims, Household"), size=9.5)
    canvas.showPage()

    sheet = Sheet(canvas, LETTER)
    _letterhead(sheet, "2 of 2")
    _claim_form(sheet)
    canvas.showPage()


def _letterhead(sheet: Sheet, page: str) -> None:
    sheet.canvas.setFillColor(PLUM)
    sheet.canvas.circle(88, sheet.height - 58, 15, stroke=0, fill=1)
    sheet.text(83, 64, "Q", font=BOLD, size=16, color=white)
    sheet.text(112, 58, "Quillmere Mutual", font=BOLD, size=16, color=PLUM)
    sheet.text(112, 71, "Household and travel insurance since 1911", font=ITALIC, size=8.5, color=GREY)
    sheet.text(540, 58, f"Page {page}", size=8, color=GREY, right=True)
    sheet.rule(72, 84, 468, color=PLUM, thick=1)
    sheet.text(
        72, 764, "Quillmere Mutual is an invented company. 9 Cathedral Close, Sedley  SE1 1AA", size=7, color=GREY
    )


def _claim_form(sheet: Sheet) -> None:
    sheet.text(72, 112, "Claim form - Household", font=BOLD, size=13)
    sheet.text(540, 112, "Form 28-C (01/2026)", size=8, color=GREY, right=True)
    sheet.text(72, 138, "A  Policy holder", font=BOLD, size=10, color=PLUM)
    sheet.field(72, 146, 300, "Surname, first name", "Whitcombe-Rao, Ansel")
    sheet.field(376, 146, 164, "Policy number", "QM-771-30442")
    sheet.field(72, 182, 300, "Address", "The Old Forge, Mill Lane, Upper Sedley US8 2LD")
    sheet.field(376, 182, 164, "Telephone", "555-0119")
    sheet.text(72, 240, "B  What happened", font=BOLD, size=10, color=PLUM)
    sheet.field(72, 248, 150, "Date of loss", "04 / 03 / 2026")
    sheet.field(226, 248, 150, "Time", "06:40")
    sheet.field(380, 248, 160, "Noticed by", "policy holder")
    for number, (label, ticked) in enumerate(
        (("Fire", False), ("Water", True), ("Storm", False), ("Theft", False), ("Glass", False), ("Other", False))
    ):
        sheet.tick(76 + 78 * number, 302, label, ticked=ticked)
    sheet.box(72, 314, 468, 74)
    sheet.text(76, 324, "Description of the damage", size=6.5, color=GREY)
    sheet.paragraph(
        78,
        340,
        452,
        "Supply pipe behind the sink burst in the early morning. Water ran into the kitchen and through the floor "
        "into the cellar until the main valve was closed at about 07:15. Wall units, worktop, skirting and the "
        "plaster ceiling of the cellar are soaked.",
    )
    sheet.text(72, 412, "C  Items claimed", font=BOLD, size=10, color=PLUM)
    columns = (
        Column("Item", 78, 190),
        Column("Bought", 276, 60),
        Column("Price paid", 346, 80, number=True),
        Column("Claimed", 440, 92, number=True),
    )
    sheet.table_head(432, columns, PLUM)
    y = 432.0
    for row in (
        ("Wall units, three", "2019", "1,480.00", "1,150.00"),
        ("Worktop, oak, 2.4 m", "2019", "690.00", "545.50"),
        ("Base unit with sink", "2019", "620.00", "450.00"),
        ("Hire of two dryers", "2026", "624.00", "624.00"),
        ("Guest house, six nights", "2026", "738.00", "738.00"),
    ):
        y += 19
        sheet.table_row(y, columns, row)
        sheet.rule(74, y + 6, 464, thick=0.3)
    sheet.text(72, y + 34, "D  Declaration", font=BOLD, size=10, color=PLUM)
    y = sheet.paragraph(
        72,
        y + 52,
        468,
        "I declare that these statements are true and complete and that I hold no other insurance for this loss.",
    )
    sheet.tick(76, y + 10, "I agree to the settlement of 7,117.50", ticked=True)
    sheet.tick(330, y + 10, "I ask for a second survey", ticked=False)
    sheet.signature(90, y + 58, 21)
    sheet.rule(72, y + 68, 200)
    sheet.text(72, y + 79, "Signature of the policy holder", size=7, color=GREY)
    sheet.text(340, y + 62, "Upper Sedley, 26 March 2026")
    sheet.rule(330, y + 68, 210)
    sheet.text(330, y + 79, "Place, date", size=7, color=GREY)


# -- the files -------------------------------------------------------------------------------------------------------

DOCUMENTS: tuple[tuple[str, str, tuple[float, float], Callable[[Canvas], None]], ...] = (
    ("statement.pdf", "Account statement", LETTER, statement),
    ("invoice.pdf", "Invoice INV-2026-004417", A4, invoice),
    ("letter.pdf", "Letter about a household claim", LETTER, letter),
)


def generate(folder: Path) -> list[Path]:
    """Write all documents into `folder`; the same bytes each time with one release of reportlab."""
    for font in (TEXT, BOLD, ITALIC):
        pdfmetrics.registerFont(TTFont(font, f"{font}.ttf"))
    written = []
    for name, title, size, draw in DOCUMENTS:
        path = folder / name
        canvas = Canvas(str(path), pagesize=size, invariant=1, pageCompression=1)
        canvas.setTitle(title)
        canvas.setAuthor("hookcache sample documents")
        draw(canvas)
        canvas.save()
        written.append(path)
    return written


def main() -> int:
    """0 drawn, 2 bad input."""
    parser = argparse.ArgumentParser(
        description="Draw the sample documents.",
        epilog="example: .venv/bin/python documents/generate.py build/documents",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path(__file__).parent,
        help="where to; it is made if need be (default: beside this file)",
    )
    target: Path = parser.parse_args().folder
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{target}: {error.strerror}; name a folder that may be made")
    for document in generate(target):
        print(f"{document}: {document.stat().st_size / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
