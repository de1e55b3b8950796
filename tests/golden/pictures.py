"""Pictures as PIL reads and resizes them, for the tests of crates/diff-train/src/data.

    python tests/golden/pictures.py crates/diff-train/tests/fixtures

Needs lmdb, numpy, Pillow, torchvision and safetensors (written with Pillow 13.0, torchvision 0.29).
`decode.safetensors` holds encoded files (`NAME.file`) and what PIL makes of them (`NAME.rgb`, for
some `NAME.grey`). `prepare.safetensors` holds inputs (`rgb`, `tall`, `grey`) and what each way of
resizing comes to: `FILTER.INPUT.HxW` for a plain resize, `crop.FILTER.INPUT.R` for torchvision's
Resize and CenterCrop, `guided.INPUT.R` for the `center_crop_arr` of guided-diffusion,
`pad.INPUT.R` for ImageOps.pad. `celeba-hq.mdb` is an LMDB as CelebA-HQ comes in (py-lmdb 3.0):
pictures 0 to 11 of 4x4 under their decimal numbers, every value the number.
"""

import io
import pathlib
import struct
import sys
import zlib

import lmdb
import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

FILTERS = {
    "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "box": Image.BOX, "lanczos": Image.LANCZOS}


def picture(height, width, seed):
    """Waves, an edge to full black and white, and noise: [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    noise = np.random.default_rng(seed).uniform(-30, 30, (height, width, 3))
    waves = [128 + 100 * np.sin(0.31 * x + 0.17 * y + c) for c in range(3)]
    values = np.stack(waves, axis=-1) + noise
    values[height // 3 : height // 2, : width // 2] = 0
    values[height // 2 :, width // 2 : 3 * width // 4] = 255
    return np.clip(values, 0, 255).astype(np.uint8)


def smooth(height, width):
    """What a lossy file keeps well."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [128 + 110 * np.sin(0.11 * (c + 1) * x + 0.13 * y + c) for c in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png16(values):
    """A 16-bit PNG of values [h, w] or [h, w, 3], which PIL itself cannot write."""
    height, width = values.shape[:2]
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 0 if values.ndim == 2 else 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def files():
    noisy, soft = Image.fromarray(picture(20, 27, 1)), Image.fromarray(smooth(37, 43))
    alpha = Image.fromarray(np.arange(20 * 27, dtype=np.uint32).reshape(20, 27).astype(np.uint8))
    rgba, la = noisy.copy(), noisy.convert("L")
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    palette = noisy.quantize(17)
    turned = Image.Exif()
    turned[274] = 6
    cmyk = Image.merge("CMYK", [*soft.split(), Image.fromarray(smooth(37, 43)[::-1, :, 1] // 3)])
    wide = np.arange(20 * 27 * 3, dtype=np.uint16).reshape(20, 27, 3) * 40
    cifar = Image.fromarray(smooth(32, 32))
    yield "png_rgb", encoded(noisy, "PNG")
    yield "png_grey", encoded(noisy.convert("L"), "PNG")
    yield "png_1bit", encoded(noisy.convert("1"), "PNG")
    yield "png_palette", encoded(palette, "PNG")
    yield "png_palette_alpha", encoded(palette, "PNG", transparency=bytes(range(17)))
    yield "png_rgba", encoded(rgba, "PNG")
    yield "png_la", encoded(la, "PNG")
    yield "png_rgb16", png16(wide)
    yield "png_grey16", png16(wide[:, :, 0])
    yield "bmp_rgb", encoded(noisy, "BMP")
    yield "bmp_palette", encoded(palette, "BMP")
    yield "webp_lossless", encoded(noisy, "WEBP", lossless=True)
    yield "webp_lossy", encoded(soft, "WEBP", quality=90)
    yield "webp_rgba", encoded(rgba, "WEBP", lossless=True, exact=True)
    yield "jpeg_444", encoded(soft, "JPEG", quality=95, subsampling=0)
    yield "jpeg_420", encoded(soft, "JPEG", quality=90)
    yield "jpeg_422_32", encoded(cifar, "JPEG", quality=75, subsampling=1)
    yield "jpeg_progressive", encoded(soft, "JPEG", quality=90, progressive=True)
    yield "jpeg_grey", encoded(soft.convert("L"), "JPEG", quality=90)
    yield "jpeg_turned", encoded(soft, "JPEG", quality=90, exif=turned)
    yield "jpeg_cmyk", encoded(cmyk, "JPEG", quality=95)


def center_crop_arr(pil_image, image_size):
    """guided-diffusion/image_datasets.py at commit 22e0df8, word for word."""
    while min(*pil_image.size) >= 2 * image_size:
        pil_image = pil_image.resize(
            tuple(x // 2 for x in pil_image.size), resample=Image.BOX
        )

    scale = image_size / min(*pil_image.size)
    pil_image = pil_image.resize(
        tuple(round(x * scale) for x in pil_image.size), resample=Image.BICUBIC
    )

    arr = np.array(pil_image)
    crop_y = (arr.shape[0] - image_size) // 2
    crop_x = (arr.shape[1] - image_size) // 2
    return arr[crop_y : crop_y + image_size, crop_x : crop_x + image_size]


def prepared():
    rgb, tall = picture(47, 61, 2), picture(83, 50, 3)
    y, x = np.mgrid[0:218, 0:178]
    celeba = ((3 * x + 5 * y + x * y // 64) % 256).astype(np.uint8)  # the tests repeat the rule
    yield "rgb", rgb
    yield "tall", tall
    yield "grey", rgb[:, :, 1]
    image, grey, upright = Image.fromarray(rgb), Image.fromarray(rgb[:, :, 1]), Image.fromarray(tall)
    for name, kind in FILTERS.items():
        yield f"{name}.rgb.16x21", image.resize((21, 16), kind)
        yield f"{name}.grey.47x20", grey.resize((20, 47), kind)
        yield f"{name}.grey.7x5", grey.resize((5, 7), kind)
        yield f"{name}.grey.71x40", grey.resize((40, 71), kind)
        yield f"{name}.rgb.30x70", image.resize((70, 30), kind)
        mode = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC,
                "box": InterpolationMode.BOX, "lanczos": InterpolationMode.LANCZOS}[name]
        yield f"crop.{name}.rgb.16", CenterCrop(16)(Resize(16, mode)(image))
    # Sizes whose borders are even, odd, and halves that round down and up.
    for size in [7, 9, 10, 33, 34, 51]:
        yield f"crop.bilinear.grey.{size}", CenterCrop(size)(Resize(size)(grey))
    for size in [9, 23, 29]:
        yield f"crop.bilinear.tall.{size}", CenterCrop(size)(Resize(size)(upright.convert("L")))
    for size in [8, 11, 23, 24, 47]:
        yield f"guided.grey.{size}", center_crop_arr(grey, size)
    for size in [8, 13, 25, 51]:
        yield f"guided.tall.{size}", center_crop_arr(upright.convert("L"), size)
    yield "guided.rgb.16", center_crop_arr(image, 16)
    for size in [8, 16, 21, 50]:
        yield f"pad.grey.{size}", ImageOps.pad(grey, (size, size), Image.BILINEAR)
        yield f"pad.tall.{size}", ImageOps.pad(upright.convert("L"), (size, size), Image.BILINEAR)
    yield "stretch.rgb.24", image.resize((24, 24), Image.BILINEAR)
    face = Image.fromarray(celeba).crop((89 - 64, 121 - 64, 89 + 64, 121 + 64))
    yield "celeba.64", face.resize((64, 64), Image.BILINEAR)
    yield "luma", image.convert("L")


def main(folder):
    tensor = lambda values: torch.from_numpy(np.array(values))
    decode = {}
    for name, file in files():
        decode[f"{name}.file"] = tensor(np.frombuffer(file, np.uint8))
        image = Image.open(io.BytesIO(file))
        if name not in ["png_grey16", "jpeg_turned"]:  # clipped; as jpeg_420
            decode[f"{name}.rgb"] = tensor(image.convert("RGB"))
        if name in ["png_rgb", "png_grey", "png_palette"]:
            decode[f"{name}.grey"] = tensor(image.convert("L"))
    save_file(decode, f"{folder}/decode.safetensors")
    save_file({name: tensor(values) for name, values in prepared()}, f"{folder}/prepare.safetensors")
    database = pathlib.Path(folder, "celeba-hq.mdb")
    database.unlink(missing_ok=True)
    with lmdb.open(str(database), subdir=False, lock=False, map_size=1 << 16) as env:
        with env.begin(write=True) as transaction:
            for number in range(12):
                transaction.put(str(number).encode(), bytes([number]) * 48)


if __name__ == "__main__":
    main(*sys.argv[1:])
