"""Where a flag lies, as its reader said it."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes

from psdt_planner.dicom.sites import SITE_OF_CODE, SITES, place
from psdt_planner.lesions import Side
from psdt_planner.protocol import SITE_KEYS
from tests.dicom_in.objects import item

LEFT, RIGHT, BOTH = "7771000", "24028007", "51440002"


def region(code: str, *modifiers: str) -> Dataset:
    ds = item(CodeValue=code)
    ds.AnatomicRegionModifierSequence = [item(CodeValue=modifier) for modifier in modifiers]
    return ds


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("L5Vertebra", "spine"),
        ("T12Vertebra", "spine"),
        ("C1Vertebra", "spine"),
        ("ThoracicSpine", "spine"),
        ("Sacrum", "bone"),
        ("Ilium", "bone"),
        ("Femur", "femur"),
        ("Rib", "rib"),
        ("Skull", "skull"),
        ("Sternum", "bone"),
        ("PelvicLymphNode", "pelvic-node"),
        ("ExternalIliacLymphNode", "pelvic-node"),
        ("AorticLymphNode", "paraaortic-node"),
        ("Prostate", "prostate"),
        ("MediastinalLymphNode", "mediastinal-node"),
        ("CervicalLymphNode", "neck-node"),
        ("Lung", "lung"),
        ("Liver", "liver"),
        ("AdrenalGland", "adrenal"),
        ("Brain", "brain"),
        ("Kidney", "unknown"),
    ],
)
def test_a_region_of_dicom_s_own_groups_tells_the_site(name: str, site: str) -> None:
    found = place([region(getattr(codes.SCT, name).value)], "")
    assert (found.site, found.source) == (site, "code" if site != "unknown" else "")


@pytest.mark.parametrize(
    ("code", "site"),
    [
        ("71996003", "spine"),
        ("56094003", "spine"),
        ("48535007", "rib"),
        ("245294005", "pelvic-node"),
        ("65985001", "bone"),
    ],
)
def test_codes_of_tg_263_names_tell_the_site(code: str, site: str) -> None:
    assert SITE_OF_CODE[code] == site


@pytest.mark.parametrize(
    ("label", "site", "side"),
    [
        ("L5 vertebral body", "spine", Side.UNKNOWN),
        ("LWK 3 links", "spine", Side.LEFT),
        ("GTV_VB_L4", "spine", Side.UNKNOWN),
        ("right iliac node", "pelvic-node", Side.RIGHT),
        ("GTV_LN_Iliac_L", "pelvic-node", Side.LEFT),
        ("left iliac bone", "bone", Side.LEFT),
        ("Rt ilium", "bone", Side.RIGHT),
        ("left para-aortic node", "paraaortic-node", Side.LEFT),
        ("paraaortic LN", "paraaortic-node", Side.UNKNOWN),
        ("prostate midline", "prostate", Side.MIDLINE),
        ("rib 7 right", "rib", Side.RIGHT),
        ("sternum", "bone", Side.UNKNOWN),
        ("left and right pubis", "bone", Side.UNKNOWN),
        ("Lesion 1", "unknown", Side.UNKNOWN),
        ("L3", "unknown", Side.UNKNOWN),
        ("T2 hyperintensity", "unknown", Side.UNKNOWN),
        ("", "unknown", Side.UNKNOWN),
        ("femoral lymph node left", "unknown", Side.LEFT),
        ("sternal lymph node", "unknown", Side.UNKNOWN),
        ("mediastinal node next to T5 vertebra", "unknown", Side.UNKNOWN),
        ("iliac LN2 right", "pelvic-node", Side.RIGHT),
        ("pelvic and para-aortic nodes", "unknown", Side.UNKNOWN),
        ("left iliac", "unknown", Side.LEFT),
        ("iliac vessel", "unknown", Side.UNKNOWN),
        ("presacral LN, prostate cancer", "pelvic-node", Side.UNKNOWN),
        ("anterior superior iliac spine", "bone", Side.UNKNOWN),
        ("bone met L4 vertebra", "spine", Side.UNKNOWN),
        ("sacrum and L5 vertebra", "unknown", Side.UNKNOWN),
        ("spinal cord", "unknown", Side.UNKNOWN),
        ("prostate", "prostate", Side.UNKNOWN),
        ("prostate cancer", "unknown", Side.UNKNOWN),
        ("Ca prostate", "unknown", Side.UNKNOWN),
        ("prostate met", "unknown", Side.UNKNOWN),
        ("Prostata-Ca", "unknown", Side.UNKNOWN),
        ("Prostatakarzinom", "unknown", Side.UNKNOWN),
        ("prostate bed", "unknown", Side.UNKNOWN),
        ("prostate bett", "unknown", Side.UNKNOWN),
        ("metastasis of the prostate", "unknown", Side.UNKNOWN),
        ("rib after prostatectomy", "rib", Side.UNKNOWN),
        ("liver metastasis of prostate cancer", "liver", Side.UNKNOWN),
        ("Prostate cancer bone met, rib 5", "rib", Side.UNKNOWN),
        ("prostate and rib", "unknown", Side.UNKNOWN),
        ("lung met, rib adjacent", "unknown", Side.UNKNOWN),
        ("close to the rib", "unknown", Side.UNKNOWN),
        ("bladder wall near pubic", "unknown", Side.UNKNOWN),
        ("right hilar lymph node", "mediastinal-node", Side.RIGHT),
        ("left supraclavicular node", "neck-node", Side.LEFT),
        ("mediastinum", "unknown", Side.UNKNOWN),
        ("left lung nodule", "lung", Side.LEFT),
        ("lung central", "lung-central", Side.UNKNOWN),
        ("right lung, peripheral", "lung-peripheral", Side.RIGHT),
        ("central and peripheral lung", "lung", Side.UNKNOWN),
        ("left adrenal", "adrenal", Side.LEFT),
        ("skull, frontal", "skull", Side.UNKNOWN),
        ("proximal femur left", "femur", Side.LEFT),
        ("brain met", "brain", Side.UNKNOWN),
        ("local recurrence prostate bed", "prostate-recurrence", Side.UNKNOWN),
        ("recurrent prostate cancer", "unknown", Side.UNKNOWN),
        ("lung and liver", "unknown", Side.UNKNOWN),
    ],
)
def test_a_label_tells_the_site_and_side_where_no_code_does(label: str, site: str, side: Side) -> None:
    found = place([], label)
    assert (found.site, found.side) == (site, side)
    assert found.source == ("label" if site != "unknown" else "")


@pytest.mark.parametrize(
    ("label", "site", "side"),
    [
        ("Brustwirbelkörper 7", "spine", Side.UNKNOWN),
        ("linke Rippe 5", "rib", Side.LEFT),
        ("Darmbeinschaufel rechts", "bone", Side.RIGHT),
        ("paraaortaler Lymphknoten", "paraaortic-node", Side.UNKNOWN),
        ("iliakaler LK links", "pelvic-node", Side.LEFT),
        ("Leber", "liver", Side.UNKNOWN),
        ("vertèbre L3", "spine", Side.UNKNOWN),
        ("côte gauche", "rib", Side.LEFT),
        ("aile iliaque, côté droit", "bone", Side.RIGHT),
        ("côté gauche", "unknown", Side.LEFT),
        ("ganglion iliaque droit", "pelvic-node", Side.RIGHT),
        ("ganglion lombo-aortique", "paraaortic-node", Side.UNKNOWN),
        ("vessie", "unknown", Side.UNKNOWN),
        ("cuerpo vertebral D8", "spine", Side.UNKNOWN),
        ("costilla izquierda", "rib", Side.LEFT),
        ("ganglio obturador derecho", "pelvic-node", Side.RIGHT),
        ("adenopatía retroperitoneal", "paraaortic-node", Side.UNKNOWN),
        ("hígado", "liver", Side.UNKNOWN),
        ("corpo vertebrale di L2", "spine", Side.UNKNOWN),
        ("femore sinistro", "femur", Side.LEFT),
        ("linfonodo iliaco dx", "pelvic-node", Side.RIGHT),
        ("vicino alla costola", "unknown", Side.UNKNOWN),
        ("cancro della prostata", "unknown", Side.UNKNOWN),
    ],
)
def test_a_label_tells_the_site_in_five_languages(label: str, site: str, side: Side) -> None:
    found = place([], label)
    assert (found.site, found.side) == (site, side)


def test_a_code_wins_over_the_label() -> None:
    found = place([region(codes.SCT.Ilium.value, RIGHT)], "left iliac node")
    assert (found.site, found.side, found.source, found.contradictory) == ("bone", Side.RIGHT, "code", True)


@pytest.mark.parametrize(
    ("name", "label", "contradictory"),
    [
        ("Rib", "liver lesion", True),
        ("Rib", "lymph node", True),
        ("Femur", "femoral lymph node", True),
        ("Rib", "Lesion 3", False),
        ("Rib", "bone met of prostate cancer", False),
        ("PelvicLymphNode", "lymph node 2", False),
        ("L5Vertebra", "L5 vertebral body", False),
        ("L5Vertebra", "bone lesion", False),
        ("Ilium", "rib met", True),
        ("Lung", "lung nodule, central", False),
        ("Prostate", "local recurrence in the prostate", False),
    ],
)
def test_a_label_that_names_another_place_than_the_code_is_said(name: str, label: str, contradictory: bool) -> None:
    found = place([region(getattr(codes.SCT, name).value)], label)
    assert found.source
    assert found.contradictory is contradictory


@pytest.mark.parametrize(
    ("name", "label", "site", "source"),
    [
        ("Bone", "rib 4", "rib", "label"),
        ("Bone", "met", "bone", "code"),
        ("Ilium", "rib met", "bone", "code"),
        ("Lung", "central", "lung-central", "code"),
        ("Prostate", "local recurrence of the prostate", "prostate-recurrence", "label"),
    ],
)
def test_a_label_tells_the_part_that_a_code_leaves_open(name: str, label: str, site: str, source: str) -> None:
    found = place([region(getattr(codes.SCT, name).value)], label)
    assert (found.site, found.source) == (site, source)


@pytest.mark.parametrize(
    ("code", "label", "level"),
    [
        (codes.SCT.L4Vertebra.value, "", "L4"),
        ("56094003", "spine", "T1"),
        ("", "GTV_VB_L4", "L4"),
        ("", "LWK 3 links", "L3"),
        ("", "Brustwirbelkörper 7", "T7"),
        ("", "cuerpo vertebral D8", "T8"),
        ("", "vertebra T03", "T3"),
        ("", "vertebrae L3 and L4", ""),
        ("", "vertebra", ""),
        ("", "L3", ""),
        (codes.SCT.Rib.value, "T7", ""),
    ],
)
def test_the_vertebra_where_it_is_known(code: str, label: str, level: str) -> None:
    assert place([region(code)] if code else [], label).level == level


def test_every_site_that_a_flag_can_have_is_one_of_the_protocols() -> None:
    assert SITES - {"lung"} == set(SITE_KEYS)


def test_a_code_without_side_leaves_the_side_to_the_label() -> None:
    assert place([region(codes.SCT.Ilium.value)], "left ilium").side is Side.LEFT


def test_codes_that_contradict_each_other_tell_nothing() -> None:
    found = place([region(codes.SCT.Ilium.value, LEFT), region(codes.SCT.L5Vertebra.value, RIGHT)], "x")
    assert (found.site, found.side, found.source) == ("unknown", Side.UNKNOWN, "")


@pytest.mark.parametrize(
    ("modifier", "side"),
    [(LEFT, Side.LEFT), (RIGHT, Side.RIGHT), ("260528009", Side.MIDLINE), ("G-A101", Side.LEFT), (BOTH, Side.UNKNOWN)],
)
def test_laterality_is_a_modifier(modifier: str, side: Side) -> None:
    assert place([region(codes.SCT.Rib.value, modifier)], "").side is side


@pytest.mark.parametrize(
    ("names", "site", "code"),
    [
        (["L3Vertebra"], "spine", "36470004"),
        (["Bone", "Sternum"], "bone", "56873002"),
        (["Kidney"], "unknown", "64033007"),
        (["Scapula", "Sternum"], "bone", "79601000"),
        (["Scapula", "Ilium"], "bone", ""),
        (["Bone"], "bone", ""),
    ],
)
def test_the_code_that_tells_the_region_is_kept(names: list[str], site: str, code: str) -> None:
    """Two codes of one region tell it; of two regions, none."""
    found = place([region(getattr(codes.SCT, name).value) for name in names], "")
    assert (found.site, found.code) == (site, code)


def test_a_code_of_another_part_of_the_body_is_not_overruled_by_the_label() -> None:
    found = place([region("64033007")], "left femur")
    assert (found.site, found.contradictory, found.code) == ("unknown", True, "64033007")
