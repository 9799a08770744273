"""Free text to closed vocabularies: what is understood, what must not be, and that nothing else comes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthoray.imaging import vocabulary as words

OAI = {
    "Bilateral PA Fixed Flexion Knee": {"side": "B", "body_part": "knee", "view": "PA"},
    "PA Right Hand": {"side": "R", "body_part": "hand", "view": "PA"},
    "PA Bilateral Hand": {"side": "B", "body_part": "hand", "view": "PA"},
    "AP Pelvis": {"body_part": "pelvis", "view": "AP"},
    "MP_LOCATOR_LEFT": {"side": "L", "is_localiser": True},
    "PRESCRIPTION_THIGH": {"body_part": "thigh", "is_localiser": True},
    "AX_T1_THIGH": {"plane": "axial", "weighting": "T1", "body_part": "thigh"},
    "COR_IW_TSE_LEFT": {"plane": "coronal", "weighting": "PD", "family": "TSE", "side": "L"},
    "SAG_3D_DESS_RIGHT": {"plane": "sagittal", "family": "DESS", "side": "R"},
    "COR_MPR_LEFT": {"plane": "coronal", "side": "L", "is_derived": True},
    "AX_MPR_RIGHT": {"plane": "axial", "side": "R", "is_derived": True},
    "SAG_IW_TSE_LEFT": {"plane": "sagittal", "weighting": "PD", "family": "TSE", "side": "L"},
    "COR_T1_3D_FLASH_RIGHT": {"plane": "coronal", "weighting": "T1", "family": "FLASH", "side": "R"},
    "SAG_T2_MAP_RIGHT": {"plane": "sagittal", "weighting": "T2", "side": "R"},
}
"""Series descriptions of the Osteoarthritis Initiative, and all that each of them says."""

EMPTY: dict[str, object] = dict.fromkeys(("side", "body_part", "plane", "weighting", "fat_suppression", "family"), "")
EMPTY |= {"is_localiser": False, "is_derived": False}


@pytest.mark.parametrize("text", OAI)
def test_descriptions_of_the_osteoarthritis_initiative(text):
    told = {name: getattr(words, name)(text) for name in {**EMPTY, **OAI[text]}}
    assert told == EMPTY | OAI[text]


@pytest.mark.parametrize(
    ("side", "texts"),
    {
        "L": ["L", "LT", "left", "KNEE_L", "lt-knee", "Knie links", "Knie li.", "genou gauche", "genou g",
              "rodilla izquierda", "ginocchio sx", "ginocchio sinistro", "joelho esquerdo", "vänster knä", "knee sin",
              "venstre kne", "vasen polvi", "kolano lewe", "левое колено левый", "左膝", "左膝关节MR", "왼쪽 무릎",
              "XR KNEE 3V LT WB"],
        "R": ["R", "RT", "RIGHT", "knee-r", "Knie rechts", "re. Knie", "IRM du genou droit", "RM rodilla derecha", "dx",
              "knee dx", "ginocchio dx", "joelho direito", "höger knä", "højre knæ", "oikea polvi", "kolano prawe",
              "правый коленный сустав", "右膝正位", "오른쪽 무릎", "IRM de l'épaule droite"],
        "B": ["both knees", "BILAT KNEE AP", "Knie beidseits", "ambas rodillas", "双膝正位", "両膝", "KNEE L/R",
              "left and right knee", "R+L", "genoux droit et gauche"],
        "": ["", "knee", "upright", "LAT", "R/O fracture", "L-SPINE", "L 4/5", "PE R>L", "phase R-L", "L>>R",
             "RM rodilla sin contraste", "DX KNEE 3 VIEWS", "lateral", "RL", "T1 L5", "sag", "rest", "bright",
             "RE-SCAN", "der Fuß", "2D", "MRT der Knie"],
    }.items(),
)  # fmt: skip
def test_sides(side, texts):
    assert {text: words.side(text) for text in texts} == dict.fromkeys(texts, side)


@pytest.mark.parametrize(
    ("reader", "term", "texts"),
    [
        ("view", "AP", ["AP", "Knee A.P. standing", "knee antero-posterior"]),
        ("view", "PA", ["PA", "rosenberg", "Schuss", "fixed flexion"]),
        ("view", "LAT", ["lat", "Knie seitlich", "genou profil", "膝关节侧位"]),
        ("view", "skyline", ["SKYLINE", "merchant view", "sunrise", "axial patella", "AP skyline", "髌骨轴位"]),
        ("view", "long_leg", ["Long_Leg", "full-length AP", "hip to ankle", "scanogram", "EOS", "Ganzbeinaufnahme",
                              "双下肢全长"]),
        ("view", "frontal", ["genou face", "双膝正位"]),
        ("view", "", ["AP/LAT", "knee 3 views", "KAPPA", "skyline and lateral"]),
        ("plane", "sagittal", ["SAG", "t2_tse_sag", "SAGPDFS", "sagittale", "矢状位"]),
        ("plane", "coronal", ["Cor", "CORPD_FBK", "koronal"]),
        ("plane", "axial", ["ax", "tra", "transversal", "TRAT2"]),
        ("plane", "", ["3-plane", "sag cor", "cortex", "Sagami"]),
        ("weighting", "PD", ["PD", "CORPDFS_FBK", "proton density", "IW_TSE", "pdw", "dp fatsat"]),
        ("weighting", "T2*", ["T2*", "t2 star gre", "COR T2* MEDIC"]),
        ("weighting", "T2", ["T2", "t2w", "AXT2FS"]),
        ("weighting", "T1", ["T1", "t1w_tse", "SAGT1"]),
        ("weighting", "", ["PD+T2 TSE", "T2MAP", "PT10"]),
        ("fat_suppression", "yes", ["FS", "fat sat", "CORPDFS_FBK", "SPAIR", "STIR", "DESS WE", "fat-suppressed",
                                    "压脂"]),
        ("fat_suppression", "no", ["non-FS", "PD no fs", "w/o fs", "without fat sat"]),
        ("fat_suppression", "", ["PD TSE", "CORPD_FBK", "offset"]),
        ("family", "TSE", ["TSE", "FSE", "turbo spin echo", "CUBE"]),
        ("family", "SE", ["SE", "spin echo"]),
        ("family", "GRE", ["GRE", "MEDIC", "gradient echo"]),
        ("family", "DESS", ["3D DESS", "double echo steady state"]),
        ("family", "FLASH", ["flash", "SPGR", "VIBE"]),
        ("family", "", ["sense", "GE", "close"]),
        ("body_part", "knee", ["KNEE", "LT KNEE", "Knie", "genou", "rodilla", "ginocchio", "knä", "膝关节", "patella",
                               "knee and lower leg", "TIBIA/KNEE"]),
        ("body_part", "hip", ["HIP", "Hüfte", "hanche", "cadera", "髋"]),
        ("body_part", "shoulder", ["SHOULDER", "Schulter", "épaule", "肩"]),
        ("body_part", "ankle", ["ANKLE", "OSG", "cheville", "踝", "足関節"]),
        ("body_part", "chest", ["CHEST", "THORAX"]),
        ("body_part", "head", ["HEAD", "Brain", "SKULL"]),
        ("body_part", "", ["", "DOE", "kneeling"]),
        ("is_localiser", True, ["3-PLANE LOC", "loc_MPR_cor", "SCOUT", "survey", "Localizer", "3plane", "AAKnee_scout",
                                "PRESCRIPTION", "定位像"]),
        ("is_localiser", False, ["Sagittal,1 stack,1 dimension,temporal position,ext loc ref", "local", "block"]),
        ("is_derived", True, ["COR MPR", "MIP", "subtraction"]),
        ("is_derived", False, ["T2MAP", "subject", "SAG PD"]),
        ("is_stitched", True, ["full leg", "stitched", "拼接", "EOS"]),
        ("is_stitched", False, ["leg", "knee"]),
        ("names_implant", True, ["TKR", "s/p TKA", "post-op", "Knie-TEP", "人工膝关节置换术后", "hardware"]),
        ("names_implant", False, ["knee pain", "step", "standard"]),
    ],
)  # fmt: skip
def test_terms(reader, term, texts):
    read = getattr(words, reader)
    assert {text: read(text) for text in texts} == dict.fromkeys(texts, term)


def test_case_and_separators_do_not_matter():
    for text in (
        "sag pd fs left knee",
        "SAG_PD_FS_LEFT_KNEE",
        "Sag/PD-FS.Left (Knee)",
        "ｓａｇ　ＰＤ ＦＳ ｌｅｆｔ ｋｎｅｅ",
    ):
        read = (words.plane, words.weighting, words.fat_suppression, words.side, words.body_part)
        assert [reader(text) for reader in read] == ["sagittal", "PD", "yes", "L", "knee"]


READERS = {
    "side": {"L", "R", "B", ""},
    "plane": {"sagittal", "coronal", "axial", ""},
    "weighting": {"PD", "T1", "T2", "T2*", ""},
    "fat_suppression": {"yes", "no", ""},
    "family": {"SE", "TSE", "GRE", "DESS", "FLASH", "EPI", ""},
    "view": {"AP", "PA", "LAT", "OBL", "skyline", "long_leg", "frontal", ""},
    "body_part": {*words.BODY_PARTS.terms.values(), ""},
}


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9 _^*/.-]{0,40}"))
def test_whatever_is_written_only_terms_come_out(text):
    for name, terms in READERS.items():
        assert getattr(words, name)(text) in terms


@given(st.sampled_from(sorted(OAI)), st.from_regex(r"[A-Z0-9]{10,18}", fullmatch=True))
def test_an_unknown_word_beside_known_ones_is_dropped(text, name):
    for reader in READERS:
        read = getattr(words, reader)
        assert read(f"{text} {name}XQ") == read(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GE MEDICAL SYSTEMS", "GE"), ("GENESIS_SIGNA", "GE"), ("SIEMENS HEALTHINEERS", "Siemens"),
        ("Philips Medical Systems", "Philips"), ("FUJI PHOTO FILM CO. LTD.", "Fujifilm"), ("Maker", ""), ("", ""),
    ],
)  # fmt: skip
def test_makers_have_one_name_each(text, name):
    assert words.manufacturer(text) == name
