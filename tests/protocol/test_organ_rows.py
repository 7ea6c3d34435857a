"""Organs and their limits in the shipped protocol: every cell with its source set, kind, basis and certainty."""

from __future__ import annotations

import pytest

from psdt_planner.exam import Organ
from psdt_planner.protocol import Protocol, other_limits
from psdt_planner.structures import OrganNames

# Set; organ; metric; kind; unit; basis; certainty; value by number of fractions, ? where nobody could read the cell.
CELLS = """
hytec SpinalCord D0.035cc optimal Gy read H | 1:12.4
hytec SpinalCord D0.035cc max Gy read H | 1:14 2:17 3:20.3 4:23 5:25.3
hytec ThecalSac D0.035cc optimal Gy read H | 1:12.4
hytec ThecalSac D0.035cc max Gy read H | 1:14 2:17 3:20.3 4:23 5:25.3
hytec OpticChiasm D0.035cc optimal Gy transcribed M | 1:10
hytec OpticChiasm D0.035cc max Gy transcribed M | 1:12 3:20 5:25
hytec Lung mean threshold Gy transcribed M | 3:8 5:8
hytec Lung V20Gy threshold % transcribed M | 3:15 5:15
hytec Liver mean threshold Gy transcribed M | 3:15 5:20
hytec Brain V12Gy optimal cc transcribed M | 1:5
hytec Brain V12Gy threshold cc transcribed M | 1:10
tg-101 OpticChiasm D0.2cc threshold Gy transcribed H | 1:8 3:15.3 5:23
tg-101 OpticChiasm D0.035cc max Gy transcribed H | 1:10 3:17.4 5:25
tg-101 Cochlea D0.035cc max Gy transcribed H | 1:9 3:17.1 5:25
tg-101 Brainstem D0.5cc threshold Gy transcribed H | 1:10 3:18 5:23
tg-101 Brainstem D0.035cc max Gy transcribed H | 1:15 3:23.1 5:31
tg-101 SpinalCord D0.35cc threshold Gy transcribed H | 1:10 3:18 5:23
tg-101 SpinalCord D0.035cc max Gy transcribed H | 1:14 3:21.9 5:30
tg-101 SpinalCord D1.2cc threshold Gy transcribed H | 1:7 3:12.3 5:14.5
tg-101 CaudaEquina D5cc threshold Gy transcribed H | 1:14 3:21.9 5:30
tg-101 CaudaEquina D0.035cc max Gy transcribed H | 1:16 3:24 5:32
tg-101 SacralPlex D5cc threshold Gy transcribed H | 1:14.4 3:22.5 5:30
tg-101 SacralPlex D0.035cc max Gy transcribed H | 1:16 3:24 5:32
tg-101 Esophagus D5cc threshold Gy transcribed H | 1:11.9 3:17.7 5:19.5
tg-101 Esophagus D0.035cc max Gy transcribed H | 1:15.4 3:25.2 5:35
tg-101 BrachialPlex D3cc threshold Gy transcribed H | 1:14 3:20.4 5:27
tg-101 BrachialPlex D0.035cc max Gy transcribed H | 1:17.5 3:24 5:30.5
tg-101 Heart D15cc threshold Gy transcribed H | 1:16 3:24 5:32
tg-101 Heart D0.035cc max Gy transcribed H | 1:22 3:30 5:38
tg-101 GreatVes D10cc threshold Gy transcribed H | 1:31 3:39 5:47
tg-101 GreatVes D0.035cc max Gy transcribed H | 1:37 3:45 5:53
tg-101 Trachea D4cc threshold Gy transcribed H | 1:10.5 3:15 5:16.5
tg-101 Trachea D0.035cc max Gy transcribed H | 1:20.2 3:30 5:40
tg-101 Bronchus D4cc threshold Gy transcribed H | 1:10.5 3:15 5:16.5
tg-101 Bronchus D0.035cc max Gy transcribed H | 1:20.2 3:30 5:40
tg-101 Rib D1cc threshold Gy transcribed H | 1:22 3:28.8 5:35
tg-101 Rib D0.035cc max Gy transcribed H | 1:30 3:36.9 5:43
tg-101 Rib D30cc threshold Gy transcribed H | 3:30
tg-101 Skin D10cc threshold Gy transcribed H | 1:23 3:30 5:36.5
tg-101 Skin D0.035cc max Gy transcribed H | 1:26 3:33 5:39.5
tg-101 Stomach D10cc threshold Gy transcribed H | 1:11.2 3:16.5 5:18
tg-101 Stomach D0.035cc max Gy transcribed H | 1:12.4 3:22.2 5:32
tg-101 Duodenum D5cc threshold Gy transcribed H | 1:11.2 3:16.5 5:18
tg-101 Duodenum D0.035cc max Gy transcribed H | 1:12.4 3:22.2 5:32
tg-101 Duodenum D10cc threshold Gy transcribed H | 1:9 3:11.4 5:12.5
tg-101 Bowel_Small D5cc threshold Gy transcribed H | 1:11.9 3:17.7 5:19.5
tg-101 Bowel_Small D0.035cc max Gy transcribed H | 1:15.4 3:25.2 5:35
tg-101 Bowel_Large D20cc threshold Gy transcribed H | 1:14.3 3:24 5:25
tg-101 Bowel_Large D0.035cc max Gy transcribed H | 1:18.4 3:28.2 5:38
tg-101 Rectum D20cc threshold Gy transcribed H | 1:14.3 3:24 5:25
tg-101 Rectum D0.035cc max Gy transcribed H | 1:18.4 3:28.2 5:38
tg-101 Bladder D15cc threshold Gy transcribed H | 1:11.4 3:16.8 5:18.3
tg-101 Bladder D0.035cc max Gy transcribed H | 1:18.4 3:28.2 5:38
tg-101 PenileBulb D3cc threshold Gy transcribed H | 1:14 3:21.9 5:30
tg-101 PenileBulb D0.035cc max Gy transcribed H | 1:34 3:42 5:50
tg-101 Femur_Head D10cc threshold Gy transcribed H | 1:14 3:21.9 5:30
tg-101 Kidney_Hilum D66.7% threshold Gy transcribed H | 1:10.6 3:18.6 5:23
tg-101 Kidney_Hilum D0.035cc max Gy transcribed H | 1:18.6
tg-101 Lung CV1500cc threshold Gy transcribed H | 1:7 5:12.5
tg-101 Lung CV1500cc threshold Gy transcribed M | 3:10.5
tg-101 Lung CV1000cc threshold Gy transcribed H | 1:7.4 5:13.5
tg-101 Lung CV1000cc threshold Gy transcribed M | 3:11.4
tg-101 Liver CV700cc threshold Gy transcribed H | 1:9.1 5:21
tg-101 Liver CV700cc threshold Gy transcribed M | 3:17.1
tg-101 Kidney CV200cc threshold Gy transcribed H | 1:8.4 5:17.5
tg-101 Kidney CV200cc threshold Gy transcribed M | 3:14.4
uk-2017 BrachialPlex D0.5cc optimal Gy transcribed M | 3:24 5:27
uk-2017 BrachialPlex D0.5cc mandatory Gy transcribed M | 3:26 5:29 8:?
uk-2017 Heart D0.5cc optimal Gy transcribed M | 3:24 5:27 8:50
uk-2017 Heart D0.5cc mandatory Gy transcribed M | 3:26 5:29 8:60
uk-2017 Trachea D0.5cc optimal Gy transcribed M | 3:30 5:32 8:32
uk-2017 Trachea D0.5cc mandatory Gy transcribed M | 3:32 5:35 8:44
uk-2017 Bronchus D0.5cc optimal Gy transcribed M | 3:30 5:32 8:32
uk-2017 Bronchus D0.5cc mandatory Gy transcribed M | 3:32 5:35 8:44
uk-2017 GreatVes D0.5cc mandatory Gy transcribed M | 3:45 5:53 8:?
uk-2017 Chestwall D0.5cc optimal Gy transcribed M | 3:37 5:39 8:39
uk-2017 Chestwall D30cc optimal Gy transcribed M | 3:30 5:32 8:35
uk-2017 Esophagus D0.5cc optimal Gy transcribed M | 5:32
uk-2017 Esophagus D0.5cc mandatory Gy transcribed M | 3:25.2 5:34 8:?
uk-2017 Stomach D0.5cc optimal Gy transcribed M | 5:33
uk-2017 Stomach D0.5cc mandatory Gy transcribed M | 3:22.2 5:35 8:?
uk-2017 Stomach D5cc optimal Gy transcribed M | 3:16.5 5:25
uk-2017 Stomach D50cc optimal Gy transcribed M | 5:12
uk-2017 Duodenum D5cc optimal Gy transcribed M | 3:16.5 5:25
uk-2017 Bowel_Small D0.5cc optimal Gy transcribed M | 5:30
uk-2017 Bowel_Small D0.5cc mandatory Gy transcribed M | 3:25.2 5:35 8:?
uk-2017 Bowel_Small D10cc optimal Gy transcribed M | 5:25
uk-2017 Bowel_Large D0.5cc mandatory Gy transcribed M | 3:28.2 5:32 8:?
uk-2017 Rectum D0.5cc mandatory Gy transcribed M | 3:28.2 5:32 8:?
uk-2017 SpinalCanal D0.1cc optimal Gy transcribed M | 1:10 3:18 5:23 8:25
uk-2017 SpinalCanal D0.1cc mandatory Gy transcribed M | 1:14 3:21.9 5:30 8:32
uk-2017 Brainstem D0.1cc optimal Gy transcribed M | 1:10 3:18 5:23
uk-2017 Brainstem D0.1cc mandatory Gy transcribed M | 1:15 3:23.1 5:31 8:?
uk-2017 OpticChiasm D0.1cc mandatory Gy transcribed M | 1:8 3:15 5:22.5 8:?
uk-2017 Ureter D0.5cc mandatory Gy transcribed M | 3:40 5:45 8:?
uk-2017 Kidney mean optimal Gy transcribed M | 5:10
uk-2017 Cochlea mean optimal Gy transcribed M | 1:4
uk-2017 Cochlea mean mandatory Gy transcribed M | 1:9 3:17.1 5:25
uk-2017 Lung V20Gy optimal % transcribed M | 3:10 5:10
uk-2017 Bladder V37Gy optimal cc transcribed M | 5:5
uk-2017 Bladder V37Gy mandatory cc transcribed M | 5:10
uk-2017 Bladder V18.1Gy mandatory % transcribed M | 5:40
uk-2017 Rectum V36Gy mandatory cc transcribed M | 5:1
uk-2017 Rectum V29Gy mandatory % transcribed M | 5:20
uk-2017 Rectum V18.1Gy mandatory % transcribed M | 5:50
uk-2017 Bowel_Small V30Gy mandatory cc transcribed M | 5:1
uk-2017 Bowel_Small V18.1Gy mandatory cc transcribed M | 5:5
uk-2017 Femur_Head V14.5Gy mandatory % transcribed M | 5:5
uk-2017 PenileBulb V29.5Gy mandatory % transcribed M | 5:50
uk-2022 SpinalCanal D0.035cc optimal Gy transcribed M | 1:12.4
uk-2022 SpinalCanal D0.035cc mandatory Gy transcribed M | 1:14 3:20.3 5:25.3 8:32
uk-2022 SpinalCord D0.035cc optimal Gy transcribed M | 1:12.4
uk-2022 SpinalCord D0.035cc mandatory Gy transcribed M | 1:14 3:20.3 5:25.3 8:32
uk-2022 BrachialPlex D0.1cc optimal Gy transcribed M | 8:35
uk-2022 BrachialPlex D0.1cc mandatory Gy transcribed M | 8:39 1:? 3:? 5:?
uk-2022 Brainstem D0.1cc optimal Gy transcribed M | 1:10 3:18 5:23
uk-2022 Brainstem D0.1cc mandatory Gy transcribed M | 1:15 3:23.1 5:31 8:?
uk-2022 OpticChiasm D0.035cc optimal Gy transcribed M | 1:10 3:15
uk-2022 OpticChiasm D0.035cc mandatory Gy transcribed M | 1:12 3:20 5:25
uk-2022 OpticChiasm D0.035cc mandatory Gy transcribed L | 8:29.6
uk-2022 Cochlea mean optimal Gy transcribed M | 1:4
uk-2022 Cochlea mean mandatory Gy transcribed M | 1:9 3:17.1 5:25 8:?
uk-2022 Eye D0.1cc mandatory Gy transcribed M | 1:8 3:? 5:? 8:?
uk-2022 Lens D0.1cc mandatory Gy transcribed M | 1:1.5 5:? 8:?
uk-2022 Lens D0.1cc mandatory Gy transcribed L | 3:2.2
uk-2022 Brain V12Gy optimal cc transcribed M | 1:10
uk-2022 Brain V12Gy mandatory cc transcribed M | 1:15
uk-2022 Brain D20cc mandatory Gy transcribed M | 3:20 5:24
uk-2022 Esophagus D0.1cc mandatory Gy transcribed M | 3:25.2 5:35 8:40 1:?
uk-2022 Heart D0.1cc optimal Gy transcribed M | 3:26 5:29 8:40
uk-2022 Heart D0.1cc mandatory Gy transcribed M | 3:30 5:38 8:46 1:?
uk-2022 GreatVes D0.1cc optimal Gy transcribed M | 8:60
uk-2022 GreatVes D0.1cc mandatory Gy transcribed M | 3:45 5:53 8:65 1:?
uk-2022 Trachea D0.1cc mandatory Gy transcribed M | 3:30 5:38 8:40 1:?
uk-2022 Bronchus D0.1cc mandatory Gy transcribed M | 3:30 5:38 8:40 1:?
uk-2022 Lung mean optimal Gy transcribed M | 3:8 5:8 8:8
uk-2022 Lung V20Gy optimal % transcribed M | 3:10 5:10 8:10
uk-2022 Lung V20Gy mandatory % transcribed M | 3:15 5:15 8:15
uk-2022 Chestwall D0.1cc mandatory Gy transcribed M | 3:36.9 5:43 8:52.3 1:?
uk-2022 Chestwall D30cc mandatory Gy transcribed M | 3:30 5:32 8:35 1:?
uk-2022 Skin D0.1cc mandatory Gy transcribed M | 1:26 3:33 5:39.5 8:48
uk-2022 Skin D10cc mandatory Gy transcribed M | 1:23 3:30 5:36.5 8:44
uk-2022 Stomach D0.1cc mandatory Gy transcribed M | 3:22.2 5:35 8:40 1:?
uk-2022 Stomach D50cc optimal Gy transcribed M | 5:12
uk-2022 Duodenum D0.1cc optimal Gy transcribed L | 3:22.2 5:32
uk-2022 Duodenum D0.1cc mandatory Gy transcribed L | 3:30 5:35 1:? 8:?
uk-2022 Duodenum D5cc optimal Gy transcribed L | 3:16.5 5:25
uk-2022 Duodenum D5cc mandatory Gy transcribed L | 3:22.5 5:26.5 1:? 8:?
uk-2022 Bowel_Small D0.5cc optimal Gy transcribed M | 5:30
uk-2022 Bowel_Small D0.5cc mandatory Gy transcribed M | 3:25.2 5:35 1:? 8:?
uk-2022 Bowel_Small D10cc optimal Gy transcribed M | 5:25
uk-2022 BileDuct_Common D0.1cc mandatory Gy transcribed M | 1:30 3:50 5:50 8:?
uk-2022 Liver mean optimal Gy transcribed M | 3:13 5:13 1:? 8:?
uk-2022 Liver mean mandatory Gy transcribed M | 3:15 5:15.2 1:? 8:?
uk-2022 Liver CV700cc optimal Gy transcribed M | 3:15
uk-2022 Liver D50% mandatory Gy transcribed M | 3:15
uk-2022 Liver V10Gy mandatory % transcribed M | 5:70
uk-2022 Kidney V10Gy mandatory % transcribed M | 1:33 3:33 8:?
uk-2022 Kidney V10Gy optimal % transcribed M | 5:10
uk-2022 Ureter D0.1cc mandatory Gy transcribed L | 1:35 3:40 5:45 8:?
"""

# Organ; α/β in Gy; certainty; sets in the order asked, - for the protocol's order.
ORGANS = """
OpticChiasm 2 M -
Cochlea 3 M -
Brainstem 2 M -
Brain 2 M -
Eye 3 L -
Lens 1 M -
SpinalCord 2 M hytec,uk-2022,tg-101
SpinalCanal 2 M uk-2022,hytec,tg-101
ThecalSac 2 M hytec,uk-2022,tg-101
CaudaEquina 3 M -
SacralPlex 2 M -
BrachialPlex 2 M -
Esophagus 3 M -
Heart 3 M -
GreatVes 3 M -
Trachea 3 M -
Bronchus 3 M -
Lung 3 M -
Chestwall 3 M -
Rib 3 M -
Skin 3 M -
Stomach 3 M -
Duodenum 3 M -
Bowel_Small 3 M -
Bowel_Large 3 M -
Rectum 3 M -
Bladder 5 M -
Ureter 3 M -
PenileBulb 3 M -
Femur_Head 3 M -
Kidney 2.5 M -
Kidney_Hilum 2.5 M -
Liver 2.5 M -
BileDuct_Common 3 L -
"""


def test_every_cell_stands_with_its_source(shipped: Protocol) -> None:
    found = [
        f"{key} {row.organ} {row.metric} {row.kind} {row.unit} {row.basis} {row.certainty} | "
        + " ".join([*(f"{n}:{value:g}" for n, value in row.limit.items()), *(f"{n}:?" for n in row.unknown)])
        for key, one in shipped.sets.items()
        for row in one.rows
    ]
    assert found == CELLS.strip().splitlines()


def test_every_set_says_where_it_is_from(shipped: Protocol) -> None:
    sources = {key: one.source.split(",")[0] for key, one in shipped.sets.items()}
    assert sources == {
        "tg-101": "AAPM TG-101 (Benedict et al.",
        "uk-2022": "UK SABR Consortium (Diez et al.",
        "uk-2017": "UK SABR Consortium (Hanna et al.",
        "hytec": "HyTEC (Sahgal et al.",
    }
    for one in shipped.sets.values():
        assert all(row.source == one.source for row in one.rows)


def test_every_organ_has_its_alpha_beta_and_its_order_of_sources(shipped: Protocol) -> None:
    found = [
        f"{key} {row.alpha_beta_gy:g} {row.certainty} {','.join(row.sets) or '-'}"
        for key, row in shipped.organs.items()
    ]
    assert found == ORGANS.strip().splitlines()
    assert shipped.set_order is not None
    assert shipped.set_order.sets == ("uk-2022", "tg-101")


def test_limits_of_volumes_are_for_the_plan(shipped: Protocol) -> None:
    found = {(limit.metric, limit.value) for limit in other_limits(shipped, "Liver", 5)}
    assert found == {("mean", 13.0), ("mean", 15.2), ("V10Gy", 70.0)}
    # Where the newer source is silent, TG-101 answers: 1,500 and 1,000 ml of lung to be spared in one fraction.
    assert {limit.metric for limit in other_limits(shipped, "Lung", 1)} == {"CV1500cc", "CV1000cc"}


def organ(name: str, code: str = "") -> Organ:
    return Organ(name, 1, "1.2.3", (), code)


@pytest.mark.parametrize(
    ("name", "code", "key"),
    [
        ("SpinalCord", "", "SpinalCord"),
        ("spinal cord", "", "SpinalCord"),
        ("SPINAL_CORD", "", "SpinalCord"),
        ("Myelon", "", "SpinalCord"),
        ("Rückenmark", "", "SpinalCord"),
        ("Oesophagus", "", "Esophagus"),
        ("Ösophagus", "", "Esophagus"),
        ("Kidney_L", "", "Kidney"),
        ("Niere rechts", "", "Kidney"),
        ("Lt Kidney", "", "Kidney"),
        ("L Lung", "", "Lung"),
        ("Lungs", "", "Lung"),
        ("Heart", "", "Heart"),
        ("Femur_Head_R", "", "Femur_Head"),
        ("femoral head left", "", "Femur_Head"),
        ("Rib07_L", "", "Rib"),
        ("A_Aorta", "", "GreatVes"),
        ("small bowel", "", "Bowel_Small"),
        ("Sigmoid", "", "Bowel_Large"),
        ("my rectum", "34402009", "Rectum"),
        ("Rectum", "34402009", "Rectum"),
        ("OAR 7", "32849002", "Esophagus"),
        # What is no organ: its planning volume, a part of it, what is not for dose, and what nobody knows.
        ("SpinalCord_PRV02", "", ""),
        ("zRectum", "", ""),
        ("Lung~_L", "", ""),
        ("PTV1", "", ""),
        ("Couch", "", ""),
        ("", "", ""),
        ("art", "", ""),
        # Name and code that differ tell nothing.
        ("Rectum", "89837001", ""),
    ],
)
def test_an_organ_by_name_alias_or_code(shipped: Protocol, name: str, code: str, key: str) -> None:
    names = OrganNames.of(shipped)
    assert names.key(organ(name, code)) == key
    assert names.contradicts(organ(name, code)) is (name == "Rectum" and code == "89837001")
