"""Contact sheets: rows of small pictures with a title and captions, as one picture."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

TILE, GAP, SEAM, MARGIN = 112, 8, 2, 24  # pixels
COLUMNS = 8
TITLE, CAPTION = 15, 11  # size of the letters
CAPTION_LINES = 2
# The first of these that the machine has: Pillow's own font knows English letters alone.
FONTS = ("DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")
INK, SOFT, MAT = "#1d2733", "#5b6672", "#eef1f4"

Font: TypeAlias = PIL.ImageFont.ImageFont | PIL.ImageFont.FreeTypeFont


class Tile(NamedTuple):
    """One picture, or two to be compared; None stands for one that cannot be shown."""

    pictures: tuple[PIL.Image.Image | None, ...]
    caption: str = ""


class Row(NamedTuple):
    """Tiles under a title."""

    title: str
    tiles: Sequence[Tile]
    note: str = ""


def fitted(picture: PIL.Image.Image | None) -> PIL.Image.Image:
    """Returns a picture whole in a square of TILE pixels, small ones enlarged by whole numbers; a cross for None."""
    square = PIL.Image.new("RGB", (TILE, TILE), MAT)
    if picture is None:
        draw = PIL.ImageDraw.Draw(square)
        for line in ((36, 36, 76, 76), (36, 76, 76, 36)):
            draw.line(line, fill="#b03a00", width=3)
        return square
    longer = max(picture.size)
    if longer <= TILE // 2:
        size = tuple(side * (TILE // longer) for side in picture.size)
        picture = picture.resize((size[0], size[1]), PIL.Image.Resampling.NEAREST)
    elif longer > TILE:
        width, height = (max(1, round(side * TILE / longer)) for side in picture.size)
        picture = picture.resize((width, height), PIL.Image.Resampling.BILINEAR)
    square.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return square


def joined(tile: Tile) -> PIL.Image.Image:
    """Returns the pictures of a tile side by side, two of them nearly touching."""
    strip = PIL.Image.new("RGB", (len(tile.pictures) * (TILE + SEAM) - SEAM, TILE), "white")
    for number, picture in enumerate(tile.pictures):
        strip.paste(fitted(picture), (number * (TILE + SEAM), 0))
    return strip


def sheet(rows: Sequence[Row]) -> PIL.Image.Image:
    """Returns the rows one below the other, COLUMNS pictures wide, on white."""
    width = 2 * MARGIN + COLUMNS * (TILE + GAP) - GAP
    heights = [_height(row) for row in rows]
    page = PIL.Image.new("RGB", (width, 2 * MARGIN + sum(heights)), "white")
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        _draw(page, row, top)
        top += height
    return page


def _lines(row: Row) -> list[list[Tile]]:
    """Returns the tiles of a row, as many a line as there is room for."""
    across = max(1, COLUMNS // max((len(tile.pictures) for tile in row.tiles), default=1))
    return [list(row.tiles[start : start + across]) for start in range(0, len(row.tiles), across)]


def _height(row: Row) -> int:
    head = TITLE + 8 + (CAPTION + 6) * bool(row.note)
    return head + len(_lines(row)) * (TILE + _below(row)) + 2 * GAP


def _below(row: Row) -> int:
    """Returns the room below each line of tiles."""
    return GAP + (CAPTION_LINES * (CAPTION + 3) + 4) * any(tile.caption for tile in row.tiles)


def _draw(page: PIL.Image.Image, row: Row, top: int) -> None:
    draw = PIL.ImageDraw.Draw(page)
    title, caption = font(TITLE), font(CAPTION)
    room = page.width - 2 * MARGIN
    draw.text((MARGIN, top), shortened(row.title, title, room), fill=INK, font=title)
    top += TITLE + 8
    if row.note:
        draw.text((MARGIN, top - 2), shortened(row.note, caption, room), fill=SOFT, font=caption)
        top += CAPTION + 6
    for line in _lines(row):
        left = MARGIN
        for tile in line:
            picture = joined(tile)
            page.paste(picture, (left, top))
            for number, words in enumerate(tile.caption.split("\n")[:CAPTION_LINES]):
                place = left, top + TILE + 3 + number * (CAPTION + 3)
                draw.text(place, shortened(words, caption, picture.width), fill=SOFT, font=caption)
            left += picture.width + GAP
        top += TILE + _below(row)


def font(size: int) -> Font:
    """Returns letters `size` pixels high."""
    for name in FONTS:
        try:
            return PIL.ImageFont.truetype(name, size)
        except OSError:  # there is none, or no FreeType
            continue
    return PIL.ImageFont.load_default(size)


def shortened(words: str, font: Font, room: int) -> str:
    """Returns words that fit into `room` pixels: of long ones the beginning and, since it tells them apart, the end."""
    if font.getlength(words) <= room:
        return words
    for kept in range(len(words) - 1, 0, -1):
        short = f"{words[: kept // 3]}…{words[len(words) - (kept - kept // 3) :]}"
        if font.getlength(short) <= room:
            return short
    return "…"
