"""A folder of DICOM files comes out without any value that tells who it is of, and with the same images; SimpleITK reads what is written."""

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_dicom import BIG, dataset, enhanced, saved, stack, written
from metamedica.data.deidentification.files import LEDGER, REPORT, deidentify_folder
from metamedica.data.deidentification.keys import Key
from metamedica.errors import InputError, MissingExtraError

pydicom = pytest.importorskip("pydicom")

KEY = Key(b"a secret of 22 bytes..")
NAME, HOSPITAL = "Zyxwv^Quentin", "St Elsewhere"
IDENTIFYING = {
    "PatientName": NAME,
    "PatientID": "MRN-7788991",
    "PatientBirthDate": "19611203",
    "PatientSex": "O",
    "PatientAge": "063Y",
    "PatientAddress": "17 Sesame Lane",
    "OtherPatientIDs": "ALT-5551212",
    "AccessionNumber": "ACC998877",
    "InstitutionName": HOSPITAL,
    "InstitutionAddress": "1 Hospital Plaza",
    "ReferringPhysicianName": "Doctor^Referring",
    "OperatorsName": "Operator^Otto",
    "PerformingPhysicianName": "Surgeon^Sally",
    "StationName": "STATION42",
    "DeviceSerialNumber": "SERIAL31337",
    "StudyID": "STUDY4711",
    "StudyDescription": "Quentin's chest",
    "SeriesDescription": "for Mr Quentin",
    "ProtocolName": "Protocol Quentin",
    "PatientComments": "lives alone",
    "ImageComments": "seen by Otto",
    "StudyDate": "20230704",
    "SeriesDate": "20230705",
    "AcquisitionDateTime": "20230704123456.7",
    "StudyTime": "123456.789",
    "AcquisitionTime": "123457",
    "PatientWeight": "83.125",
    "EthnicGroup": "Martian",
    "RequestingService": "Oncology ward",
    "BodyPartExamined": "QUENTINS LUNG",
    "RescaleType": "QUENTIN",
}


def identified(data: Any) -> Any:
    """Return a data set with who it is of in every place that one may think of."""
    for keyword, value in IDENTIFYING.items():
        setattr(data, keyword, value)
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "QUENTIN"]
    inner = pydicom.Dataset()
    inner.PatientName, inner.ReferencedSOPInstanceUID = "Nested^Quentin", "1.2.3.4.999"
    inner.ReferencedSOPClassUID = data.SOPClassUID
    inner.RequestedProcedureDescription = "Nested procedure"
    data.RequestAttributesSequence = [inner]
    frame = pydicom.Dataset()
    frame.RescaleSlope, frame.RescaleIntercept, frame.PatientID = 1, -1024, "NESTED-MRN"
    data.PixelValueTransformationSequence = [frame]  # kept, so what is inside must be looked at
    block = data.private_block(0x0009, "QUENTIN PRIVATE", create=True)
    block.add_new(0x01, "LO", "Private Quentin")
    data.add_new(0x60000010, "US", data.Rows)
    data.add_new(0x60000022, "LO", "Overlay Quentin")
    data.add_new(0x60003000, "OW", b"Overlay bits of Quentin " * 2)
    data.add_new(0x00091099, "UN", b"unknown Quentin ")
    data.file_meta.SourceApplicationEntityTitle = "AE-QUENTIN"
    data.preamble = b"Quentin was here".ljust(128, b"\0")
    return data


def values_of(data: Any) -> set[bytes]:
    """Return every identifying value of `identified`, and every UID of the file."""
    texts = {str(value) for value in IDENTIFYING.values()} - {"O"}
    texts |= {"Quentin", "QUENTIN", "Nested", "NESTED", "procedure", "AE-QUENTIN", "1.2.3.4.999"}
    texts |= {str(data[keyword].value) for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    texts |= {str(data.FrameOfReferenceUID)}
    return {text.encode() for text in texts}


def outputs(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


def test_no_identifying_value_is_left_anywhere_in_the_bytes(tmp_path: Path) -> None:
    slices = [identified(each) for each in stack()]
    secrets = set().union(*(values_of(each) for each in slices))
    paths = saved(slices, tmp_path / "in" / "QUENTIN")
    assert all(any(secret in path.read_bytes() for path in paths) for secret in secrets)  # they were there
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert report.files == {"read": 5, "written": 5}
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.name for path in made} >= {REPORT, LEDGER}
    for path in made:
        content = path.read_bytes() + str(path.relative_to(tmp_path)).encode()
        assert [secret for secret in secrets if secret in content] == []


def test_the_image_its_place_and_its_scale_stay_the_same(tmp_path: Path) -> None:
    slices = [identified(each) for each in stack()]
    saved(slices, tmp_path / "in")
    deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    made = sorted(
        (pydicom.dcmread(path) for path in outputs(tmp_path / "out")),
        key=lambda each: each.SliceLocation if "SliceLocation" in each else each.ImagePositionPatient[2],
    )
    for before, after in zip(slices, made, strict=True):
        assert after.PixelData == before.PixelData
        for keyword in (
            "ImagePositionPatient",
            "PixelSpacing",
            "RescaleSlope",
            "RescaleIntercept",
            "BitsStored",
            "Modality",
        ):
            assert after[keyword].value == before[keyword].value
        assert list(after.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL", "OTHER"]
        assert "BodyPartExamined" not in after
        assert after.PixelValueTransformationSequence[0].RescaleIntercept == -1024


def test_identifiers_are_consistent_over_a_series_and_nothing_like_the_old_ones(tmp_path: Path) -> None:
    slices = [identified(each) for each in stack()]
    other = [identified(each) for each in stack(2, seed=4)]
    for number, each in enumerate(other):
        each.SeriesInstanceUID, each.SOPInstanceUID = "1.2.3.77", f"1.2.3.88.{number}"
    saved(slices, tmp_path / "in" / "a")
    saved(other, tmp_path / "in" / "b")
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert (report.patients, report.series) == (1, 2)
    made = [pydicom.dcmread(path) for path in outputs(tmp_path / "out")]
    for keyword, count in (
        ("PatientID", 1),
        ("StudyInstanceUID", 1),
        ("FrameOfReferenceUID", 1),
        ("SeriesInstanceUID", 2),
        ("SOPInstanceUID", 7),
    ):
        found = {str(each[keyword].value) for each in made}
        assert len(found) == count
        if keyword != "PatientID":
            assert all(re.fullmatch(r"2\.25\.\d{1,39}", uid) for uid in found)
    for each in made:
        assert each.file_meta.MediaStorageSOPInstanceUID == each.SOPInstanceUID
        assert each.PatientIdentityRemoved == "YES"
        assert [code.CodeValue for code in each.DeidentificationMethodCodeSequence] == ["113100", "113107"]
        assert each.PatientName == each.PatientID


def test_dates_of_a_patient_are_put_back_by_the_same_days(tmp_path: Path) -> None:
    from datetime import date

    saved([identified(each) for each in stack(2)], tmp_path / "in")
    deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    made = pydicom.dcmread(outputs(tmp_path / "out")[0])
    study, series = (date.fromisoformat(made[keyword].value) for keyword in ("StudyDate", "SeriesDate"))
    assert (series - study).days == 1
    assert (date(2023, 7, 4) - study).days == KEY.days("MRN-7788991")
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"
    assert made.StudyTime == ""
    assert "AcquisitionTime" not in made
    deidentify_folder(tmp_path / "in", tmp_path / "none", KEY, dates="remove")
    made = pydicom.dcmread(outputs(tmp_path / "none")[0])
    assert made.StudyDate == ""
    assert "SeriesDate" not in made
    assert made.LongitudinalTemporalInformationModified == "REMOVED"
    assert [code.CodeValue for code in made.DeidentificationMethodCodeSequence] == ["113100"]


@pytest.mark.mirror
def test_a_real_series_of_jpeg2000_is_the_same_image_for_simpleitk(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    archive = Path(os.environ["METAMEDICA_DATA"]) / "images" / "dicom_nifti" / "ct_series_j2k_deid.zip"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "raw")
    sources = sorted((tmp_path / "raw").rglob("*.dcm"))[:6]
    slices = [identified(pydicom.dcmread(path)) for path in sources]
    secrets = set().union(*(values_of(each) for each in slices))
    saved(slices, tmp_path / "in")
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert report.files == {"read": 6, "written": 6}
    assert report.flagged_files == []
    for path in outputs(tmp_path / "out"):
        assert [secret for secret in secrets if secret in path.read_bytes()] == []
    (series,) = {path.parent for path in outputs(tmp_path / "out")}
    (uid,) = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(series))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series), uid)
    before = sitk.ReadImage(
        [str(path) for path in sorted(sources, key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2])]
    )
    after = sitk.ReadImage(list(names))
    assert np.array_equal(sitk.GetArrayFromImage(before), sitk.GetArrayFromImage(after))
    assert before.GetSpacing() == after.GetSpacing()
    assert before.GetOrigin() == after.GetOrigin()


def test_every_encoding_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, size=(8, 9), dtype=np.uint16)
    colour = np.random.default_rng(0).integers(0, 255, size=(8, 9, 3), dtype=np.uint8)
    slices = [
        dataset(pixels, SOPInstanceUID="1.1"),
        dataset(pixels, syntax=BIG, SOPInstanceUID="1.2"),
        dataset(colour, SOPInstanceUID="1.3"),
        enhanced(),
    ]
    slices[3].SOPInstanceUID = slices[3].file_meta.MediaStorageSOPInstanceUID = "1.4"
    saved(slices, tmp_path / "in")
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert report.files == {"read": 4, "written": 4}
    made = {str(pydicom.dcmread(path).SOPInstanceUID): pydicom.dcmread(path) for path in outputs(tmp_path / "out")}
    for before in slices:
        after = made[KEY.uid(str(before.SOPInstanceUID))]
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
        assert np.array_equal(after.pixel_array, before.pixel_array)
    frames = made[KEY.uid("1.4")].PerFrameFunctionalGroupsSequence
    assert [float(each.PlanePositionSequence[0].ImagePositionPatient[2]) for each in frames] == [
        float(each.PlanePositionSequence[0].ImagePositionPatient[2])
        for each in slices[3].PerFrameFunctionalGroupsSequence
    ]


def test_blank_uids_are_replaced_by_shared_ones_of_their_folder(tmp_path: Path) -> None:
    slices = stack(3)
    for each in slices:
        each.SOPInstanceUID = each.SeriesInstanceUID = each.StudyInstanceUID = ""
        each.file_meta.MediaStorageSOPInstanceUID = "1.2"
    saved(slices, tmp_path / "in" / "a")
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert (report.files["written"], report.patients, report.series) == (3, 1, 1)
    assert len({str(pydicom.dcmread(path).SOPInstanceUID) for path in outputs(tmp_path / "out")}) == 3


def test_a_flagged_image_is_held_back_unless_it_shall_be_kept(tmp_path: Path) -> None:
    (one,) = stack(1)
    one.BurnedInAnnotation = "YES"
    saved([one], tmp_path / "in")
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert report.files == {"read": 1, "held": 1}
    assert outputs(tmp_path / "out") == []
    (flag,) = report.flagged_files
    assert (flag["number"], flag["outcome"], flag["reasons"]) == (1, "held", ["says that it has writing in its pixels"])
    kept = deidentify_folder(tmp_path / "in", tmp_path / "kept", KEY, flagged="keep")
    assert kept.files == {"read": 1, "written": 1}
    (path,) = outputs(tmp_path / "kept")
    assert str(path.relative_to(tmp_path / "kept")) == flag["file"]
    assert kept.flagged_files[0]["outcome"] == "written"
    assert pydicom.dcmread(path).BurnedInAnnotation == "YES"


def test_what_cannot_be_used_is_counted_by_its_reason_and_stops_nothing(tmp_path: Path) -> None:
    slices = [*stack(2), *stack(1, seed=9)]  # the third has the instance UID of the first
    paths = saved(slices, tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text(NAME)
    (tmp_path / "in" / "cut.dcm").write_bytes(paths[0].read_bytes()[:-20])
    (tmp_path / "in" / "copy.dcm").write_bytes(paths[1].read_bytes())
    report_only = stack(1)[0]
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report_only, keyword)
    (tmp_path / "in" / "sr.dcm").write_bytes(written(report_only))
    odd = dataset(np.ones((4, 4), np.uint16), SOPInstanceUID="1.2.9", SOPClassUID="1.2.3.4.5.6.7")
    (tmp_path / "in" / "odd.dcm").write_bytes(written(odd))
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert report.files == {"read": 8, "written": 2, "refused": 3, "left out": 3}
    assert report.refused == {
        "is broken, or an element that is kept does not hold what it must": 2,
        "has the instance UID of another file, with other content": 1,
    }
    assert report.left_out == {"is not DICOM": 1, "is DICOM without an image": 1, "is a copy of another file": 1}
    assert len(outputs(tmp_path / "out")) == 2
    assert json.loads((tmp_path / "out" / REPORT).read_text()) == json.loads(json.dumps(report.as_dict()))
    assert NAME not in (tmp_path / "out" / REPORT).read_text()


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("keyword", "kind"), [("SliceThickness", "DS"), ("InstanceNumber", "IS"), ("WindowCenter", "LO")]
)
def test_a_name_in_an_element_of_numbers_does_not_get_through(tmp_path: Path, keyword: str, kind: str) -> None:
    (one,) = stack(1)
    one.add_new(pydicom.datadict.tag_for_keyword(keyword), kind, "1")
    one[keyword]._value = NAME[:12]
    saved([one], tmp_path / "in")
    assert deidentify_folder(tmp_path / "in", tmp_path / "out", KEY).files == {"read": 1, "refused": 1}


def test_a_stopped_run_goes_on_and_ends_with_the_same_files(tmp_path: Path) -> None:
    saved(stack(6), tmp_path / "in")
    whole = deidentify_folder(tmp_path / "in", tmp_path / "whole", KEY)

    class Stopped(Exception):
        pass

    def stop(done: int, total: int, message: str) -> None:
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        deidentify_folder(tmp_path / "in", tmp_path / "out", KEY, progress=stop)
    assert len(outputs(tmp_path / "out")) == 3
    assert not (tmp_path / "out" / REPORT).exists()
    ledger = tmp_path / "out" / LEDGER
    ledger.write_text(ledger.read_text()[:-7])  # the last line was being written
    times = {path: path.stat().st_mtime_ns for path in outputs(tmp_path / "out")}
    again = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert again == whole
    assert sum(path.stat().st_mtime_ns == times[path] for path in times) == 2
    for left, right in zip(outputs(tmp_path / "out"), outputs(tmp_path / "whole"), strict=True):
        assert left.read_bytes() == right.read_bytes()
    outputs(tmp_path / "out")[0].unlink()
    assert deidentify_folder(tmp_path / "in", tmp_path / "out", KEY) == whole
    assert len(outputs(tmp_path / "out")) == 6


def test_a_folder_of_another_key_or_setting_is_refused(tmp_path: Path) -> None:
    saved(stack(1), tmp_path / "in")
    deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    for key, options in (
        (Key(b"another secret, 24 bytes"), {}),
        (KEY, {"dates": "remove"}),
        (KEY, {"flagged": "keep"}),
    ):
        with pytest.raises(InputError, match="was begun with another key, other settings"):
            deidentify_folder(tmp_path / "in", tmp_path / "out", key, **options)
    (tmp_path / "out" / LEDGER).write_text("nothing\n")
    with pytest.raises(InputError, match=r"holds a broken ledger\.jsonl; give a new folder"):
        deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    saved(stack(1), tmp_path / "in")
    with pytest.raises(InputError, match="there is no folder 'none'"):
        deidentify_folder(tmp_path / "none", tmp_path / "out", KEY)
    for target in (tmp_path / "in" / "out", tmp_path, tmp_path / "in"):
        with pytest.raises(InputError, match="target lies inside of the source"):
            deidentify_folder(tmp_path / "in", target, KEY)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="'full' holds something else"):
        deidentify_folder(tmp_path / "in", tmp_path / "full", KEY)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_a_link_out_of_the_source_is_not_followed(tmp_path: Path) -> None:
    saved(stack(1), tmp_path / "in")
    (other,) = saved(stack(2)[1:], tmp_path / "elsewhere")
    (tmp_path / "in" / "link.dcm").symlink_to(other)
    assert deidentify_folder(tmp_path / "in", tmp_path / "out", KEY).files["read"] == 1


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"metamedica\[images\]"):
        deidentify_folder(tmp_path, tmp_path / "out", KEY)


def test_text_behind_a_lookup_table_is_refused(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    palette = pydicom.dcmread(get_testdata_file("examples_palette.dcm", download=False))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(written(palette))
    palette.RedPaletteColorLookupTableData += b"Quentin."
    palette.SOPInstanceUID = "1.2.3.4.5"
    (tmp_path / "in" / "b.dcm").write_bytes(written(palette))
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY, flagged="keep")
    assert report.files == {"read": 2, "written": 1, "refused": 1}


def test_an_image_that_says_no_but_looks_like_yes_no_longer_says_no(tmp_path: Path) -> None:
    (one,) = stack(1)
    one.BurnedInAnnotation, one.ConversionType = "NO", "WSD"
    saved([one], tmp_path / "in")
    deidentify_folder(tmp_path / "in", tmp_path / "out", KEY, flagged="keep")
    assert "BurnedInAnnotation" not in pydicom.dcmread(outputs(tmp_path / "out")[0])


def test_broken_headers_are_refused_one_by_one_and_nothing_of_them_gets_out(tmp_path: Path) -> None:
    (one,) = stack(1)
    whole = np.frombuffer(written(identified(one)), np.uint8)
    (tmp_path / "in").mkdir()
    generator = np.random.default_rng(0)
    for number in range(80):
        data = whole.copy()
        data[generator.integers(132, len(data) - 84, size=5)] = generator.integers(0, 256, size=5)
        (tmp_path / "in" / f"{number}.dcm").write_bytes(data.tobytes())
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY, flagged="keep")
    assert report.files["read"] == 80
    assert report.files["written"] >= 1
    for path in [each for each in (tmp_path / "out").rglob("*") if each.is_file()]:
        assert not re.search(rb"(?i)quentin|elsewhere|sesame|7788991", path.read_bytes())
