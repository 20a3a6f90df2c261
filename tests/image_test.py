"""Decoding and resizing give Pillow's bytes: every mode, orientation and filter, with Pillow itself as the judge."""

import io
import os
import random
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

TOOL = Path(os.environ.get("LORIKEET_BUILD_DIR", "build")) / "image_tool"
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "nearest_exact": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RANDOM = np.random.default_rng(0)


def run_tool(lines):
    result = subprocess.run([TOOL], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    answers = result.stdout.splitlines()
    assert len(answers) == len(lines)
    return answers, result.stderr


def read_ppm(path):
    data = Path(path).read_bytes()
    magic, size, top, pixels = data.split(b"\n", 3)
    assert (magic, top) == (b"P6", b"255")
    width, height = map(int, size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def as_pillow_sees_it(data):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB"))


def photo(width, height, channels=3):
    """Smooth colours with edges and some noise, so that every part of a codec has something to do."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 120 * np.sin(x / (3 + c) + y / (7 - c)) + RANDOM.normal(0, 9, (height, width)) for c in range(channels)]
    pixels = np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def encode(image, **options):
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


def orientation_exif(value, endian="<", kind="H"):
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F] = "a maker whose name is longer than four bytes"
    exif[0x0112] = value
    return exif


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width, height, depth, color, rows, extra=b"", interlace=0):
    """A PNG file of any bit depth and colour type, also such as Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def jpeg_files():
    files = {}
    for width, height in [(1, 1), (7, 5), (16, 16), (33, 47), (130, 61)]:
        for subsampling in (0, 1, 2):
            for quality in (30, 75, 95):
                image = Image.fromarray(photo(width, height))
                files[f"rgb_{width}x{height}_{subsampling}_{quality}.jpg"] = encode(
                    image, format="JPEG", subsampling=subsampling, quality=quality, progressive=quality == 75
                )
    for channels, mode in [(1, "L"), (4, "CMYK")]:
        for progressive in (False, True):
            image = Image.fromarray(photo(45, 38, channels), mode if mode == "CMYK" else None)
            files[f"{mode}_{progressive}.jpg"] = encode(image, format="JPEG", progressive=progressive)
    files["restarts.jpg"] = encode(Image.fromarray(photo(90, 70)), format="JPEG", restart_marker_blocks=2)
    return files


def png_files():
    files = {}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        if mode == "I;16":
            image = Image.fromarray(RANDOM.integers(0, 600, (23, 31)).astype(np.uint16))
        elif mode == "P":
            image = Image.fromarray(photo(31, 23)).quantize(200)
        else:
            base = photo(31, 23, {"L": 1, "1": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode])
            image = Image.fromarray(base).convert("1") if mode == "1" else Image.fromarray(base)
        assert image.mode == mode
        files[f"mode_{mode.replace(';', '')}.png"] = encode(image, format="PNG")
    colors = bytes(RANDOM.integers(0, 256, 48).astype(np.uint8))
    for depth in (1, 2, 4, 8):
        rows = [bytes(RANDOM.integers(0, 256, (13 * depth + 7) // 8).astype(np.uint8)) for _ in range(9)]
        files[f"gray_{depth}.png"] = raw_png(13, 9, depth, 0, rows)
        files[f"gray_transparent_{depth}.png"] = raw_png(13, 9, depth, 0, rows, png_chunk(b"tRNS", b"\0\1"))
        if depth < 8:
            entries = 2**depth
            extra = png_chunk(b"PLTE", colors[: 3 * entries]) + png_chunk(b"tRNS", b"\0" * entries)
            files[f"palette_{depth}.png"] = raw_png(13, 9, depth, 3, rows, extra)
    short = png_chunk(b"PLTE", colors[:30])  # ten entries, but indices up to 15
    files["palette_short.png"] = raw_png(13, 9, 4, 3, [bytes([0x1F, 0xA9] * 3 + [0x30])] * 9, short)
    for color, channels in [(0, 1), (2, 3), (4, 2), (6, 4)]:
        rows = [bytes(RANDOM.integers(0, 256, 11 * channels * 2).astype(np.uint8)) for _ in range(6)]
        files[f"deep_{color}.png"] = raw_png(11, 6, 16, color, rows)
    files["gamma.png"] = raw_png(2, 1, 8, 2, [b"\x10\x20\x30\x40\x50\x60"], png_chunk(b"gAMA", struct.pack(">I", 22222)))
    return files


def webp_files():
    files = {}
    for width, height in [(1, 1), (31, 23), (64, 40)]:
        image = Image.fromarray(photo(width, height))
        files[f"lossy_{width}.webp"] = encode(image, format="WEBP", quality=60)
        files[f"lossless_{width}.webp"] = encode(image, format="WEBP", lossless=True)
    alpha = Image.fromarray(photo(30, 20, 4))
    files["alpha.webp"] = encode(alpha, format="WEBP")
    files["alpha_exact.webp"] = encode(alpha, format="WEBP", lossless=True, exact=True)
    frames = [Image.fromarray(photo(30, 20, channels)) for channels in (3, 4, 3)]
    files["animated.webp"] = encode(frames[0], format="WEBP", save_all=True, append_images=frames[1:])
    return files


def orientation_files():
    files = {}
    image = Image.fromarray(photo(19, 12))
    for value in range(0, 10):
        for endian in "<>":
            exif = orientation_exif(value, endian)
            for kind in ("JPEG", "PNG", "WEBP"):
                options = {"lossless": True} if kind == "WEBP" else {}
                name = f"turned_{value}_{'big' if endian == '>' else 'little'}.{kind.lower()}"
                files[name] = encode(image, format=kind, exif=exif, **options)
        tag = f'<x:xmpmeta><rdf:Description tiff:Orientation="{value}"/></x:xmpmeta>'.encode()
        files[f"xmp_{value}.jpg"] = encode(image, format="JPEG", xmp=tag)
        files[f"xmp_{value}.webp"] = encode(image, format="WEBP", xmp=tag)
        text = PngImagePlugin.PngInfo()
        element = f"<tiff:Orientation>{value}</tiff:Orientation>"
        text.add_itxt("XML:com.adobe.xmp", element, zip=value % 2 == 0)
        files[f"xmp_{value}.png"] = encode(image, format="PNG", pnginfo=text)
        profile = PngImagePlugin.PngInfo()
        exif = b"Exif\0\0" + orientation_exif(value).tobytes()[6:]
        profile.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
        files[f"profile_{value}.png"] = encode(image, format="PNG", pnginfo=profile)
    return files


def odd_exif_files():
    """Orientation blocks as no camera should write them."""
    def tiff(kind, count, value, entries=1):
        return b"II*\0\x08\0\0\0" + struct.pack("<HHHII", entries, 0x0112, kind, count, value) + b"\0" * 4

    blocks = {
        "long": tiff(4, 1, 6), "signed_long": tiff(9, 1, 6), "signed_short": tiff(8, 1, 6),
        "two_values": tiff(3, 2, 6 | 8 << 16), "prefix_twice": b"Exif\0\0" + tiff(3, 1, 6), "huge": tiff(3, 1, 300),
    }
    image = Image.fromarray(photo(19, 12))
    return {f"exif_{name}.png": encode(image, format="PNG", exif=block) for name, block in blocks.items()}


@pytest.mark.parametrize("make", [jpeg_files, png_files, webp_files, orientation_files, odd_exif_files])
def test_decode_is_pillows(make, tmp_path):
    files = make()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    answers, _ = run_tool([f"decode {tmp_path / name} {tmp_path / name}.ppm" for name in files])
    assert answers == ["ok"] * len(files)
    differing = []
    for name, data in files.items():
        ours, theirs = read_ppm(tmp_path / f"{name}.ppm"), as_pillow_sees_it(data)
        if ours.shape != theirs.shape or not np.array_equal(ours, theirs):
            differing.append(name)
    assert not differing


@pytest.mark.parametrize("make", [jpeg_files, png_files, webp_files, orientation_files, odd_exif_files])
def test_size_from_the_header_is_that_of_the_decoded_picture(make, tmp_path):
    files = make()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    answers, _ = run_tool([f"size {tmp_path / name}" for name in files])
    expected = {name: as_pillow_sees_it(data).shape for name, data in files.items()}
    assert dict(zip(files, answers)) == {name: f"ok {width} {height}" for name, (height, width, _) in expected.items()}


def test_orientations_do_turn(tmp_path):
    """Guards the test above: Pillow itself must turn what it is given there."""
    files = orientation_files()
    for prefix, suffix in [("turned", "_big.jpeg"), ("turned", "_little.webp"), ("xmp", ".png"), ("profile", ".png")]:
        assert as_pillow_sees_it(files[f"{prefix}_6{suffix}"]).shape == (19, 12, 3)


def test_gray16_is_clipped_with_one_warning(tmp_path):
    for name in ("a", "b"):
        Image.fromarray(np.array([[0, 200, 255, 256, 300, 65535]], np.uint16)).save(tmp_path / f"{name}.png")
    _, warnings = run_tool([f"decode {tmp_path / name}.png {tmp_path / name}.ppm" for name in ("a", "b")])
    assert read_ppm(tmp_path / "a.ppm")[0, :, 0].tolist() == [0, 200, 255, 255, 255, 255]
    assert warnings.count("16-bit gray") == 1


def size_pairs(count):
    choose = random.Random(1)
    edges = [1, 2, 3, 7, 31, 64, 100, 151, 233, 420]
    pairs = []
    for _ in range(count):
        pairs.append(tuple(choose.choice(edges) if choose.random() < 0.4 else choose.randint(1, 300) for _ in range(4)))
    # Both sides of Pillow's rule for which direction comes first.
    pairs += [(100, 300, 40, 60), (100, 300, 50, 200), (100, 300, 50, 199), (100, 300, 50, 201), (50, 60, 90, 59)]
    return pairs


def test_resize_is_pillows(tmp_path):
    lines, expected = [], []
    for i, (width, height, new_width, new_height) in enumerate(size_pairs(200)):
        source = tmp_path / f"{i}.png"
        # Noise shows rounding, blocks of black and white show overshoot.
        noise = RANDOM.integers(0, 256, (height, width, 3)).astype(np.uint8)
        image = Image.fromarray(np.where(noise > 127, 255, 0).astype(np.uint8) if i % 4 == 0 else noise)
        image.save(source)
        for name, resample in FILTERS.items():
            lines.append(f"resize {source} {new_width} {new_height} {name} {tmp_path}/{i}_{name}.ppm")
            expected.append((f"{i}_{name}.ppm", np.asarray(image.resize((new_width, new_height), resample))))
    answers, _ = run_tool(lines)
    assert answers == ["ok"] * len(lines)
    differing = [name for name, pixels in expected if not np.array_equal(read_ppm(tmp_path / name), pixels)]
    assert not differing


def test_resize_of_a_photo_is_pillows(tmp_path):
    image = Image.fromarray(photo(1201, 903))
    image.save(tmp_path / "photo.png")
    run_tool([f"resize {tmp_path}/photo.png 681 512 {name} {tmp_path}/{name}.ppm" for name in FILTERS])
    for name, resample in FILTERS.items():
        assert np.array_equal(read_ppm(tmp_path / f"{name}.ppm"), np.asarray(image.resize((681, 512), resample))), name


def test_encoders_are_pillows(tmp_path):
    image = Image.fromarray(photo(61, 43))
    image.save(tmp_path / "in.png")
    for extension in ("png", "jpg", "jpeg", "webp"):
        answers, _ = run_tool([f"encode {tmp_path}/in.png {tmp_path}/out.{extension}"])
        assert answers == ["ok"]
        image.save(tmp_path / f"pillow.{extension}")
        ours, theirs = Image.open(tmp_path / f"out.{extension}"), Image.open(tmp_path / f"pillow.{extension}")
        assert (ours.format, ours.mode) == (theirs.format, theirs.mode)
        # WebP's lossy encoder may search differently from release to release; JPEG and PNG may not.
        worst = np.abs(np.asarray(ours).astype(int) - np.asarray(theirs)).max()
        assert worst <= (24 if extension == "webp" else 0), (extension, worst)


def test_truncated_files_are_refused_as_by_pillow(tmp_path):
    image = Image.fromarray(photo(80, 60))
    lines = []
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encode(image, format=kind)
        for part in (0, 10, len(data) // 3, len(data) * 9 // 10, len(data) - (2 if kind == "JPEG" else 30)):
            path = tmp_path / f"{kind}_{part}"
            path.write_bytes(data[:part])
            with pytest.raises((OSError, SyntaxError)):
                Image.open(path).load()
            lines.append(f"decode {path} {tmp_path}/out.ppm")
    answers, _ = run_tool(lines)
    assert all(answer.startswith("error: ") for answer in answers), answers


def test_bombs_are_refused_before_memory_is_taken(tmp_path):
    row = zlib.compress(b"\0" * 1000)
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", row) + png_chunk(b"IEND", b"")
    )
    Image.fromarray(photo(40, 30)).save(tmp_path / "small.jpg")
    Image.fromarray(photo(40, 30)).save(tmp_path / "small.webp")
    answers, _ = run_tool(
        [f"decode {tmp_path}/bomb.png {tmp_path}/out.ppm", "limit 1199"]
        + [f"decode {tmp_path}/small.{kind} {tmp_path}/out.ppm" for kind in ("jpg", "webp")]
        + ["limit 1200"]
        + [f"decode {tmp_path}/small.{kind} {tmp_path}/out.ppm" for kind in ("jpg", "webp")]
    )
    assert "60000 x 60000 pixels: at most 178956970" in answers[0]
    assert "40 x 30" in answers[2] and "40 x 30" in answers[3]
    assert answers[5:] == ["ok", "ok"]


def test_pillow_is_the_version_the_rules_were_read_from():
    assert Image.__version__.startswith("13."), "the order of the resize passes is Pillow 13's"
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
