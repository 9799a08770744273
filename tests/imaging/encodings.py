"""The same image in every transfer syntax that can be written here."""

import cv2
import gdcm
import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

NATIVE = ("explicit", "implicit", "big_endian", "deflated")
LOSSLESS = (*NATIVE, "rle", "jpeg_ls", "j2k", "jpeg_lossless", "jpeg_lossless_sv1")
COMPRESSORS = {"jpeg_ls": JPEGLSLossless, "j2k": JPEG2000Lossless}
GDCM = {"rle": "RLELossless", "jpeg_lossless": "JPEGLosslessProcess14", "jpeg_lossless_sv1": "JPEGLosslessProcess14_1"}


def encode(path, syntax):
    """Rewrite an uncompressed Explicit VR Little Endian file, in place, in another transfer syntax."""
    if syntax in GDCM:
        _with_gdcm(path, GDCM[syntax])
        return
    dataset = dcmread(path)
    if syntax == "big_endian":
        word = max(2, dataset.BitsAllocated // 8)  # bytes are swapped in pairs where the representation is OW
        dataset.PixelData = np.frombuffer(dataset.PixelData, f"u{word}").byteswap().tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        for element in dataset.iterall():  # parse every value: raw ones would be written as they are, in little endian
            assert element.VR
        dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
        return
    if syntax in COMPRESSORS:
        dataset.compress(COMPRESSORS[syntax], generate_instance_uid=False)
    elif syntax == "jpeg_baseline":
        _as_jpeg(dataset)
    elif syntax == "jpeg_ls_near":
        dataset.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False)
    else:
        names = {"implicit": ImplicitVRLittleEndian, "deflated": DeflatedExplicitVRLittleEndian}
        dataset.file_meta.TransferSyntaxUID = names.get(syntax, dataset.file_meta.TransferSyntaxUID)
    implicit = dataset.file_meta.TransferSyntaxUID.is_implicit_VR
    dataset.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=True)


def _as_jpeg(dataset):
    shape = (-1, dataset.Rows, dataset.Columns)
    frames = np.frombuffer(dataset.PixelData, np.uint8)[: int(np.prod(shape)) * -1 or None].reshape(shape)
    coded = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes() for frame in frames]
    dataset.PixelData = encapsulate(coded)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit


def _with_gdcm(path, name):
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    coded = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    frames = [coded.GetFragment(index) for index in range(coded.GetNumberOfFragments())]
    blobs = [frame.GetByteValue().GetBuffer().encode("utf-8", "surrogateescape") for frame in frames]
    dataset = dcmread(path)
    dataset.PixelData = encapsulate(blobs)
    dataset["PixelData"].is_undefined_length = True
    syntax = gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)).GetString()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)
