"""The loaders on tiny sets in the upstream layouts, and what they refuse."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers import cases, chest, datasets, images, settings, synthetic
from helpers.settings import CourseError

SQUARE = np.full((30, 40, 3), 90, np.uint8)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XAI_DERM_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("XAI_DERM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def draw(path, picture=SQUARE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


HAM = """lesion_id,image_id,dx,dx_type,age,sex,localization,dataset
HAM_1,ISIC_1,mel,histo,80.0,male,scalp,rosendahl
HAM_1,ISIC_2,mel,histo,80.0,male,scalp,rosendahl
HAM_2,ISIC_3,nv,follow_up,,unknown,unknown,vidir_molemax
"""


@pytest.fixture
def ham(data):
    folder = data / "ham10000"
    write(folder / "HAM10000_metadata.csv", HAM)
    draw(folder / "HAM10000_images_part_1/ISIC_1.jpg")
    draw(folder / "HAM10000_images_part_2/ISIC_2.jpg")
    draw(folder / "images/ISIC_3.jpg")
    draw(folder / "masks/lesion/ISIC_2_segmentation.png", SQUARE[..., 0])
    write(folder / "__MACOSX/ISIC_3_segmentation.png", "stub")
    write(folder / "masks/._ISIC_1_segmentation.png", "stub")
    return folder


def test_the_way_out_works_from_any_folder(data):
    with pytest.raises(CourseError) as error:
        datasets.load("ham10000")
    command = shlex.split(str(error.value).split("get it with: ")[1])
    assert Path(command[0]).is_absolute() and Path(command[0]).samefile(sys.executable)
    assert command[1:] == [
        *("-m", "helpers.datasets", "download", "ham10000"),
        *("--to", str(data / "ham10000")),
    ]
    assert f"'{data} 2/x'" in cases.way_out("ham10000", f"{data} 2/x")


def test_a_variable_that_names_no_folder_is_told(data, monkeypatch):
    told = f"(XAI_DERM_DATA names {data}, and that folder is not there)"
    for name in ("ham10000", "ph2", "chexpert"):
        with pytest.raises(CourseError) as error:
            datasets.load(name)
        assert told in str(error.value)
    data.mkdir()  # it is the data set that lacks
    with pytest.raises(CourseError) as error:
        datasets.load("ham10000")
    assert "XAI_DERM_DATA" not in str(error.value)
    monkeypatch.delenv("XAI_DERM_DATA")
    monkeypatch.setattr(settings, "root", lambda: data)
    with pytest.raises(CourseError) as error:
        datasets.load("ham10000")
    assert "XAI_DERM_DATA" not in str(error.value)


def test_ham10000(ham, capsys):
    table = datasets.load("ham10000")
    assert tuple(table)[: len(datasets.COLUMNS)] == datasets.COLUMNS
    assert table["dx_type"].tolist() == ["histo", "histo", "follow_up"]
    assert table["image_id"].tolist() == ["ISIC_1", "ISIC_2", "ISIC_3"]
    assert table["label"].tolist() == ["mel", "mel", "nv"]
    assert table["group"].tolist() == ["HAM_1", "HAM_1", "HAM_2"]
    assert table["source"].tolist() == ["rosendahl", "rosendahl", "vidir_molemax"]
    assert table["age"].tolist()[:2] == [80, 80]
    assert table.loc[2, ["age", "sex", "site", "patient", "split"]].isna().all()
    assert table["path"].str.contains("part_1|part_2|images").all()
    assert table["mask_path"].notna().tolist() == [False, True, False]
    assert capsys.readouterr().out == ""


def test_ham10000_as_dataverse_converts_it(ham):
    expected = datasets.load("ham10000")
    (ham / "HAM10000_metadata.csv").unlink()
    write(ham / "HAM10000_metadata.tab", "\ufeff" + HAM.replace(",", "\t"))
    pd.testing.assert_frame_equal(datasets.load("ham10000"), expected)


def test_a_partial_set_is_used_and_said_so(ham, capsys):
    (ham / "images/ISIC_3.jpg").unlink()
    assert len(datasets.load("ham10000")) == 2
    assert capsys.readouterr().out == "ham10000: 2 of 3 images found\n"
    whole = datasets.load("ham10000", need_images=False)
    assert whole["path"].isna().tolist() == [False, False, True]
    assert capsys.readouterr().out == ""


WAY = "python -m helpers.datasets download ham10000"


def refused(name, *parts, **options):
    with pytest.raises(CourseError) as error:
        datasets.load(name, **options)
    line = str(error.value)
    assert "\n" not in line and all(part in line for part in parts), line


def test_what_ham10000_refuses(ham, data):
    file = ham / "HAM10000_metadata.csv"
    file.write_text(HAM.replace("lesion_id", "lesion"))
    refused("ham10000", "no column lesion_id", str(file), WAY)
    file.write_text(HAM.replace("ISIC_2", "ISIC_1"))
    refused("ham10000", "ISIC_1", "stands there twice")
    file.write_text(HAM.replace("nv", "naevus"))
    refused("ham10000", "ISIC_3", "unknown label 'naevus'", "akiec, bcc")
    for bad in (b"", b"\xff\xfe\x00x", b'a,b\n"1,2\n3', b"\x00" * 50):
        file.write_bytes(bad)
        refused("ham10000", str(file), WAY)
    file.unlink()
    refused("ham10000", "no HAM10000_metadata.csv", WAY)
    refused("ham10000", "no folder", WAY, folder=data / "elsewhere")


def test_no_picture_at_all(data):
    write(data / "ham10000/HAM10000_metadata.csv", HAM)
    refused("ham10000", "none of 3 pictures found", WAY)
    assert len(datasets.load("ham10000", need_images=False)) == 3


def test_an_unknown_set(tmp_path):
    for folder in (None, tmp_path):
        line = "unknown data set 'ham1000'"
        refused("ham1000", line, "ham10000, isic2019", folder=folder)
    assert set(settings.DATASETS) == {"synthetic", *datasets.LOADERS}


def test_the_synthetic_set_is_read_as_ham10000(ham, monkeypatch):
    asked = []
    monkeypatch.setattr(synthetic, "ensure", lambda *a: asked.append(a) or ham)
    table = datasets.load("synthetic", profile="full", seed=3)
    assert asked == [("full", 3)] and len(table) == 3


TRUTH = """image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK
ISIC_1,1.0,0,0,0,0,0,0,0,0
ISIC_2_downsampled,0,1.0,0,0,0,0,0,0,0
ISIC_3,0,0,0,0,0,0,0,1,0
ISIC_4,0,0,0,0,0,0,0,0,1
"""
MORE = """image,age_approx,anatom_site_general,lesion_id,sex
ISIC_1,55,anterior torso,MSK4_0011,female
ISIC_2_downsampled,,,,
ISIC_3,60,head/neck,BCN_0001,male
ISIC_4,60,head/neck,BCN_0002,male
"""


@pytest.fixture
def isic(data):
    folder = data / "isic2019"
    write(folder / "ISIC_2019_Training_GroundTruth.csv", TRUTH)
    write(folder / "ISIC_2019_Training_Metadata.csv", MORE)
    for image in ("ISIC_1", "ISIC_2_downsampled", "ISIC_3"):
        draw(folder / f"ISIC_2019_Training_Input/{image}.jpg")
    draw(folder / "masks/ISIC_2_segmentation.png", SQUARE[..., 0])
    return folder


def test_isic2019(isic, capsys):
    table = datasets.load("isic2019")
    assert table["label"].tolist() == ["mel", "nv", "scc"]
    assert table["source"].fillna("-").tolist() == ["MSK", "-", "BCN"]
    assert table["group"].isna().tolist() == [False, True, False]
    assert table.loc[1, ["age", "sex", "site", "source"]].isna().all()
    assert table["mask_path"].notna().tolist() == [False, True, False]
    assert capsys.readouterr().out.splitlines() == [
        "isic2019: unk has 1 training images and is no class here"
    ]


def test_what_isic2019_refuses(isic):
    file = isic / "ISIC_2019_Training_GroundTruth.csv"
    file.write_text(TRUTH.replace("ISIC_1,1.0,0", "ISIC_1,1.0,1"))
    refused("isic2019", "ISIC_1", "unknown label 'none or two'")
    (isic / "ISIC_2019_Training_Metadata.csv").unlink()
    refused("isic2019", "no ISIC_2019_Training_Metadata.csv", "download isic2019")


PH2 = """||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment \
Network | Dots/Globules | Streaks | Regression Areas | Blue-Whitish Veil || Colors ||
|| IMD003 ||                 || 0 || 0 | T |  A | A | A | A ||    4 ||
|| IMD009 ||                 || 1 || 1 | AT | T | A | A | A ||   3 4 ||
|| IMD348 || Nodular Melanoma || 2 || 2 | AT | AT | P | P | P || 1  4  5  6 ||


Legends for Clinical Diagnosis:
   0 - Common Nevus;
"""


@pytest.mark.parametrize(
    "picture, mask",
    [
        ("images/{}.jpg", "masks/{}_lesion.png"),
        (
            "PH2 Dataset images/{0}/{0}_Dermoscopic_Image/{0}.bmp",
            "PH2 Dataset images/{0}/{0}_lesion/{0}_lesion.bmp",
        ),
    ],
)
def test_ph2_in_both_layouts(data, capsys, picture, mask):
    folder = data / "ph2"
    write(folder / "PH2_dataset.txt", PH2)
    for image in ("IMD003", "IMD348"):
        draw(folder / picture.format(image))
        draw(folder / mask.format(image), SQUARE[..., 0])
    table = datasets.load("ph2")
    assert table["image_id"].tolist() == ["IMD003", "IMD348"]
    assert table["path"].str.endswith(picture[-4:]).all()
    assert table["mask_path"].str.contains("_lesion").all()
    assert "2 of 3 images found" in capsys.readouterr().out
    table = datasets.load("ph2", need_images=False)
    assert table["label"].tolist() == ["nv", "nv", "mel"]
    assert table["diagnosis"].tolist() == ["common nevus", "atypical nevus", "melanoma"]
    assert table["asymmetry"].tolist() == [0, 1, 2]
    assert table["pigment_network"].tolist() == ["typical", "atypical", "atypical"]
    assert table["streaks"].tolist() == ["absent", "absent", "present"]
    assert table["colours"][2] == ("white", "dark brown", "blue-grey", "black")


def test_what_ph2_refuses(data):
    refused("ph2", "no folder", "ask for it")
    write(data / "ph2/PH2_dataset.txt", PH2.replace("|| 2 || 2 |", "|| 7 || 2 |"))
    refused("ph2", "IMD348", "cannot make sense")
    write(data / "ph2/PH2_dataset.txt", "nothing")
    refused("ph2", "no row")


@pytest.fixture
def derma(data):
    folder = data / "dermamnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for split, labels in {"train": [4, 5], "val": [5], "test": [4]}.items():
        arrays[f"{split}_labels"] = np.uint8(labels)[:, None]
        shape = (len(labels), 28, 28, 3)
        arrays[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
    np.savez(folder / "dermamnist.npz", **arrays)
    return folder, arrays


def test_dermamnist_alone(derma, capsys):
    table = datasets.load("dermamnist")
    assert "lesions are unknown" in capsys.readouterr().out
    assert table["split"].tolist() == ["train", "train", "calibration", "test"]
    assert table["label"].tolist() == ["mel", "nv", "nv", "mel"]
    assert table["group"].isna().all() and table["image_id"].is_unique
    assert (np.asarray(Image.open(table["path"][2])) == derma[1]["val_images"][0]).all()
    assert datasets.load("dermamnist").equals(table)


def test_dermamnist_joined_with_ham10000(derma, ham):
    info = "split,index,image_id\ntrain,0,ISIC_2\ntrain,1,ISIC_3\ntest,0,ISIC_1\n"
    write(derma[0] / "dermamnist_split_info.csv", info)
    table = datasets.load("dermamnist")
    assert table["image_id"].tolist() == ["ISIC_2", "ISIC_3", "val_00000", "ISIC_1"]
    assert table["group"].fillna("-").tolist() == ["HAM_1", "HAM_2", "-", "HAM_1"]
    assert table["site"].fillna("-").tolist() == ["scalp", "-", "-", "scalp"]
    write(derma[0] / "dermamnist_split_info.csv", info.replace("ISIC_3", "ISIC_1", 1))
    refused("dermamnist", "ISIC_1", "other labels")


def test_what_dermamnist_refuses(derma):
    file = derma[0] / "dermamnist.npz"
    np.savez(file, train_labels=np.array([{"code": 1}], dtype=object))
    refused("dermamnist", str(file), "is damaged", "download dermamnist")
    file.write_bytes(file.read_bytes()[:100])
    refused("dermamnist", str(file), "is damaged")
    file.write_bytes(b"")
    refused("dermamnist", str(file), "is damaged")
    file.unlink()
    refused("dermamnist", "no dermamnist.npz")


BOXES = """Image Index,Finding Label,Bbox [x,y,w,h],,,
00000013_005.png,Mass,512,256,128,64,,,
00000013_005.png,Infiltrate,1000,0,100,1024,,,
00000020_000.png,Nodule,0,0,10,10,,,
"""
ENTRIES = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,\
Patient Gender,View Position
00000013_005.png,Mass|Infiltration,5,13,060Y,M,AP
00000021_000.png,No Finding,0,21,414,F,PA
"""


@pytest.fixture
def nih(data):
    folder = data / "chestxray14"
    write(folder / "BBox_List_2017.csv", BOXES)
    draw(folder / "images_001/images/00000013_005.png", SQUARE[:, :32, 0])
    draw(folder / "images_002/images/00000021_000.png", SQUARE[..., 0])
    return folder


def test_chestxray14_from_its_boxes(nih, capsys):
    table = datasets.load("chestxray14")
    assert capsys.readouterr().out.splitlines() == [
        "chestxray14: no Data_Entry_2017_v2020.csv, so the labels are those of the "
        "boxes",
        "chestxray14: 1 of 2 images found",
    ]
    assert table["label"].tolist() == [("Mass", "Infiltration")]
    assert table["patient"].tolist() == ["00000013"]
    mass, infiltration = table["boxes"][0]
    assert mass == ("Mass", 16, 7.5, 4, 1.875)
    assert infiltration == ("Infiltration", 31.25, 0, 0.75, 30)


def test_chestxray14_with_the_entries(nih, capsys):
    write(nih / "Data_Entry_2017.csv", ENTRIES)
    table = datasets.load("chestxray14")
    assert capsys.readouterr().out == ""
    assert table["label"].tolist() == [("Mass", "Infiltration"), ()]
    assert table["age"].fillna(-1).tolist() == [60, -1]
    assert table["sex"].tolist() == ["male", "female"]
    assert table["view"].tolist() == ["AP", "PA"]
    assert len(table["boxes"][0]) == 2 and table["boxes"].isna().tolist() == [0, 1]


def test_a_box_without_a_number(nih):
    write(nih / "BBox_List_2017.csv", BOXES.replace("512", "left"))
    refused("chestxray14", "00000013_005.png", "a box lacks a number")


def longer(text, rows):
    """A table with 200 more films (or boxes), so that a few bad rows are few."""
    return text + "".join(rows.format(n) for n in range(200))


MORE_BOXES = "00000050_{:03d}.png,Mass,1,1,9,9,,,\n"
MORE_ENTRIES = "00000050_{:03d}.png,No Finding,0,50,33,F,PA\n"


def test_a_box_outside_its_film_or_of_an_unknown_finding_is_left_out(nih, capsys):
    for bad, why in (
        ("00000013_005.png,Mass,1024,5,9,9,,,", "a box outside its film"),
        ("00000013_005.png,Mass,5,-20,9,20,,,", "a box outside its film"),
        ("00000013_005.png,Mass,5,5,0,9,,,", "a box outside its film"),
        ("00000013_005.png,Broken rib,5,5,9,9,,,", "unknown finding 'Broken rib'"),
    ):
        write(nih / "BBox_List_2017.csv", longer(BOXES + bad + "\n", MORE_BOXES))
        table = datasets.load("chestxray14").set_index("image_id")
        assert len(table.boxes["00000013_005"]) == 2
        out = capsys.readouterr().out
        assert why in out and "1 of 204 rows left out: 00000013_005.png" in out
    write(nih / "BBox_List_2017.csv", BOXES.replace("Mass", "Broken rib"))
    refused("chestxray14", "Broken rib", "known are Atelectasis, Cardiomegaly")


@pytest.mark.parametrize(
    "cell, why",
    [
        ("Mass|Scoliosis", "unknown finding 'Scoliosis'; known are Atelectasis"),
        ("No Finding|Mass", "No Finding together with a finding"),
        ("", "no label; a healthy film says so"),
    ],
)
def test_a_label_that_cannot_be_believed_is_left_out(nih, capsys, cell, why):
    bad = f"00000013_005.png,{cell},6,13,060Y,M,AP\n"
    head, _, rest = ENTRIES.splitlines(keepends=True)
    write(nih / "Data_Entry_2017.csv", longer(head + bad + rest, MORE_ENTRIES))
    table = datasets.load("chestxray14", need_images=False)
    assert "00000013_005" not in set(table.image_id) and len(table) == 201
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and why in out and "00000013_005.png" in out
    write(nih / "Data_Entry_2017.csv", head + bad + rest)
    refused("chestxray14", why, "00000013_005.png")


@pytest.mark.parametrize("kind", ["16 bit", "RGBA", "DICOM"])
def test_a_film_may_be_of_16_bit_transparent_or_dicom(nih, kind):
    path = nih / "images_001/images/00000013_005.png"
    ramp = np.tile(np.linspace(0, 255, 32), (30, 1))
    if kind == "16 bit":
        Image.fromarray(np.uint16(ramp * 257)).save(path)
    elif kind == "RGBA":
        grey = np.uint8(ramp)[..., None].repeat(3, 2)
        opaque = np.full((30, 32, 1), 255, np.uint8)
        Image.fromarray(np.concatenate([grey, opaque], 2)).save(path)
    else:
        from test_dicom import written

        path.unlink()
        path = path.with_suffix(".dcm")
        written(path, np.uint16(4095 - ramp / 255 * 4095), "MONOCHROME1")
    table = datasets.usable(datasets.load("chestxray14"))
    assert table.path.tolist() == [str(path)] and table.boxes[0][0][1:3] == (16, 7.5)
    film = images.load(table, 32)[0]
    assert film[:, -1].min() > 240 and film[:, 0].max() < 15


@given(
    box=st.tuples(*[st.floats(-100, 1200)] * 2, *[st.floats(0, 1200)] * 2),
    shape=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
)
def test_a_scaled_box_lies_in_its_picture_and_keeps_its_share(box, shape):
    _, x, y, w, h = chest.scaled(("Mass", *box), shape)
    high, wide = shape
    assert 0 <= x <= wide and 0 <= y <= high and w >= 0 and h >= 0
    assert x + w <= wide * (1 + 1e-9) and y + h <= high * (1 + 1e-9)
    if box[0] >= 0 and box[0] + box[2] <= 1024:
        assert w / wide == pytest.approx(box[2] / 1024, abs=1e-9)


@pytest.fixture
def stanford(data):
    folder = data / "chexpert"
    head = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding," + ",".join(chest.CHEXPERT)
    row = "CheXpert-v1.0-small/{}/patient0000{}/study1/view1_frontal.jpg,{},68,Frontal,"
    for split, number, sex, values in (
        ("train", 1, "Female", ",,1.0,-1.0" + ",0.0" * 11),
        ("valid", 2, "Unknown", ",1.0" + "," * 13),
    ):
        line = row.format(split, number, sex) + values
        write(folder / f"{split}.csv", f"{head}\n{line}\n")
        path = f"{split}/patient0000{number}/study1/view1_frontal.jpg"
        draw(folder / path)
    return folder


def test_chexpert_and_its_doubts(stanford):
    table = datasets.load("chexpert")
    first, second = chest.CHEXPERT[:2]
    assert table["label"].tolist() == [(first,), ()]
    assert table["uncertain"].tolist() == [(second,), ()]
    assert table["patient"].tolist() == ["patient00001", "patient00002"]
    assert table["split"].tolist() == ["train", "calibration"]
    assert table["sex"].fillna("-").tolist() == ["female", "-"]
    positive = chest.chexpert(stanford, uncertain="positive")
    assert positive["label"][0] == (first, second) and positive["uncertain"][0] == ()
    negative = chest.chexpert(stanford, uncertain="negative")
    assert negative["label"][0] == (first,) and negative["uncertain"][0] == ()


def test_what_chexpert_refuses(stanford):
    refused("chexpert", "agreement", "only read", folder=stanford / "x")
    with pytest.raises(CourseError, match="choose one of missing, positive, negative"):
        chest.chexpert(stanford, uncertain="maybe")
    for file in stanford.glob("*.csv"):
        file.unlink()
    refused("chexpert", "no train.csv")


def many(folder, count):
    paths = [folder / f"p{i}.png" for i in range(count)]
    for path in paths:
        draw(path)
    names = [path.stem for path in paths]
    return paths, pd.DataFrame({"image_id": names, "path": list(map(str, paths))})


def test_bad_pictures_are_left_out_and_named(tmp_path, capsys):
    paths, table = many(tmp_path, 40)
    assert datasets.usable(table) is table
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    paths[7].unlink()
    left = datasets.usable(table)
    assert capsys.readouterr().out == (
        "2 of 40 pictures left out: p3.png (truncated), p7.png (missing)\n"
    )
    assert len(left) == 38 and left.index.tolist() == list(range(38))


def test_many_bad_pictures_are_an_error(tmp_path):
    paths, table = many(tmp_path, 40)
    for path in paths[:7]:
        path.write_bytes(b"")
    with pytest.raises(CourseError, match=r"7 of 40 .* \(empty\) and 2 more; over 5 %"):
        datasets.usable(table)


def test_the_command_lists_the_sets(ham, capsys):
    assert datasets.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(settings.DATASETS)
    assert "4 files" in lines[1] and str(ham) in lines[1]
    assert "not found" in lines[2]


@pytest.mark.parametrize("name", ["chexpert", "ph2", "nonsense"])
def test_the_command_refuses_in_one_line(name, capsys):
    assert datasets.main(["download", name]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and name in said.err


def test_the_command_downloads(data, monkeypatch, capsys):
    asked = []
    monkeypatch.setitem(datasets.DOWNLOADS, "ham10000", asked.append)
    assert datasets.main(["download", "ham10000"]) == 0
    assert datasets.main(["download", "ham10000", "--to", str(data / "x")]) == 0
    assert asked == [data / "ham10000", data / "x"]


@pytest.mark.parametrize("name", settings.DATASETS)
def test_every_set_is_told_of(name):
    """A row in the README and in data/README.md, with a section there."""
    data = (settings.root() / "data/README.md").read_text("utf-8")
    assert f"\n| `{name}` |" in data and f"\n## {name}\n" in data
    assert f"`{name}`" in (settings.root() / "README.md").read_text("utf-8")


def test_every_set_can_be_had_somehow():
    assert set(datasets.LOADERS) == {*datasets.DOWNLOADS, *cases.ASKED_FOR}


def test_a_few_bad_rows_in_a_big_table_are_reported_and_left_out(ham, capsys):
    head, first, *_ = HAM.splitlines()
    rows = [first.replace("ISIC_1", f"ISIC_{k}") for k in range(1, 301)]
    rows[7] = rows[7].replace(",mel,", ",wart,")
    rows[9] = rows[8]
    file = ham / "HAM10000_metadata.csv"
    file.write_text("\n".join([head, *rows]))
    table = datasets.load("ham10000", need_images=False)
    said = capsys.readouterr().out
    assert len(table) == 298 and table.image_id.is_unique
    assert "1 of 300 rows left out: ISIC_8 (unknown label 'wart'" in said
    assert "1 of 299 rows left out: ISIC_9 (the image id stands there twice)" in said


def test_a_broken_mask_costs_its_row_too(tmp_path, capsys):
    rows = []
    for k in range(30):
        path = tmp_path / f"{k}.png"
        Image.new("RGB", (9, 9)).save(path)
        rows.append({"image_id": str(k), "path": str(path), "mask_path": str(path)})
    broken = tmp_path / "mask.png"
    broken.write_bytes((tmp_path / "0.png").read_bytes()[:40])
    rows[3]["mask_path"] = str(broken)
    table = datasets.usable(pd.DataFrame(rows))
    assert len(table) == 29 and "3.png (its mask: " in capsys.readouterr().out


def test_a_film_that_is_no_picture_does_not_stop_the_others(nih):
    (nih / "images").mkdir(exist_ok=True)
    film = next(nih.rglob("00000013_005.png"))
    film.write_bytes(b"no picture")
    table = datasets.load("chestxray14").set_index("image_id")
    assert table.boxes["00000013_005"] is None
