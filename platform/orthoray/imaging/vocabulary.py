"""From free text to closed vocabularies: what a description says of plane, contrast, side, view and body part.

Descriptions are written by people and may hold anything. Only the terms defined here come out of them; every other
word is dropped. Matching ignores case, punctuation and underscores, and is by whole words, save for Chinese, Japanese
and Korean, which do not separate them. Glued abbreviations of MR protocols (``SAGPDFS``) are taken apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

JOINTS = ("knee", "hip", "shoulder", "ankle")
"""Body parts that win over others named beside them: in "knee and lower leg" the joint is what was aimed at."""

PAIRED = frozenset(
    {*JOINTS, "wrist", "elbow", "hand", "foot", "leg", "thigh", "arm", "forearm", "finger", "toe", "extremity"}
)
"""Body parts of which a person has a left and a right one."""

_EAST_ASIAN = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+)")
_WORD = re.compile(r"[^\W_]+\*?")
_ATOM = r"sag|cor|axi?|tra(?:ns)?|t1|t2\*?|pd|iw|wi?|fatsat|fse|tse|frfse|fs|se|stir|gre|dess|spair|spir|tirm|we|[23]d"
_ATOMS = re.compile(_ATOM)
_GLUED = re.compile(rf"(?=.*(?:sag|cor|ax|tra|t1|t2|pd|iw))(?:{_ATOM})+")


class Lexicon:
    """Finds terms in free text.

    Args:
        terms: term → its phrases, separated by ``;``. The longest phrase at a place wins, whatever its term.
    """

    def __init__(self, terms: Mapping[str, str]) -> None:
        self.terms = {_plain(phrase): term for term, text in terms.items() for phrase in text.split(";")}
        phrases = sorted(self.terms, key=len, reverse=True)
        bounded = [re.escape(phrase) for phrase in phrases if not _EAST_ASIAN.search(phrase)]
        anywhere = [re.escape(phrase) for phrase in phrases if _EAST_ASIAN.search(phrase)]
        parts = ["|".join(anywhere)] if anywhere else []
        parts += [rf"(?<!\S)(?:{'|'.join(bounded)})(?!\S)"] if bounded else []
        self.pattern = re.compile("|".join(parts))
        self.find = lru_cache(maxsize=1024)(self._find)  # a series repeats its texts with every slice
        """Terms of a text in the order of their first appearance, each once."""

    def _find(self, text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(term for term, _, _ in self.matches(plain(text)))) if text else ()

    def only(self, text: str) -> str:
        """The term of a text that names one; ``""`` if it names none or several."""
        found = self.find(text)
        return found[0] if len(found) == 1 else ""

    def matches(self, words: str) -> Iterable[tuple[str, int, int]]:
        """(term, start, end) in a text that went through `plain`."""
        for match in self.pattern.finditer(words):
            yield self.terms[match.group()], match.start(), match.end()


def _plain(text: str) -> str:
    text = _EAST_ASIAN.sub(r" \1 ", unicodedata.normalize("NFKC", text).casefold())
    words: list[str] = []
    for word in _WORD.findall(text):
        words += _ATOMS.findall(word) if _GLUED.fullmatch(word) else [word]
    return " ".join(words)


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """Lower-case words with one space between them; no punctuation, glued protocol names taken apart."""
    return _plain(text)


PLANES = Lexicon(
    {
        "sagittal": "sag;sagittal;sagital;sagittale;sagittaal;矢状;矢狀",
        "coronal": "cor;coronal;coronale;koronal;koronar;coronaal;冠状;冠狀",
        "axial": "ax;axi;axial;axiale;tra;trans;transversal;transverse;transaxial;轴位;軸位;横断;橫斷",
    }
)
WEIGHTINGS = Lexicon(
    {
        "T1": "t1",
        "T2": "t2",
        "T2*": "t2*;t2 star;t2star",
        "PD": "pd;proton density;proton;dp;rho;iw;intermediate weighted;protonendichte;质子;質子",
    }
)
FAT = Lexicon(
    {
        "yes": "fs;fatsat;fat sat;fat saturated;fat saturation;fat sup;fat supp;fat suppressed;fat suppression;fatsup;"
        "satfat;spir;spair;stir;tirm;chess;we;water excitation;wats;proset;fettgesättigt;fettsuppression;"
        "saturation de graisse;supresion grasa;supresión grasa;脂肪抑制;压脂;壓脂;抑脂",
        "no": "non fs;no fs;nofs;nonfs;without fs;wo fs;w o fs;non fatsat;no fatsat;without fatsat;non fat sat;"
        "no fat sat;without fat sat;non fat suppressed;no fat suppression;without fat suppression;ohne fs;sans fs",
    }
)
FAMILIES = Lexicon(
    {
        "SE": "se;spin echo;mese;cpmg",
        "TSE": "tse;fse;frfse;turbo spin echo;fast spin echo;space;cube;vista;haste;ssfse;blade;propeller",
        "GRE": "gre;ffe;gradient echo;field echo;mpgr;medic;merge;mffe;fisp;grass;fiesta;trufi;bffe;ssfp",
        "DESS": "dess;double echo steady state",
        "FLASH": "flash;spgr;fspgr;vibe;lava;thrive;spoiled gradient echo",
        "EPI": "epi;dwi;dti",
    }
)
_LONG_LEG = (
    "full leg;full legs;fullleg;full length;full limb;long leg;long legs;longleg;long length;long limb;hip to ankle;"
    "leg length;leg lengths;scanogram;scannogram;orthoradiogram;ganzbein;ganzbeinaufnahme;ganzbeinstandaufnahme;"
    "pangonogram;pangonogramme;gonometrie;goniometrie;telemetria;eos;全长;全長;下肢力线;下肢力線;全下肢"
)
VIEWS = Lexicon(
    {
        "AP": "ap;a p;anteroposterior;antero posterior",
        "PA": "pa;p a;posteroanterior;postero anterior;fixed flexion;rosenberg;schuss",
        "LAT": "lat;lateral;laterale;latéral;latérale;lateralis;seitlich;profil;profile;perfil;侧位;側位;側面",
        "OBL": "obl;oblique;obliqua;oblicua;schräg;斜位",
        "skyline": "skyline;merchant;sunrise;laurin;tangential;tangentiel;axial patella;patella axial;patellar axial;"
        "axiale patella;patella axiale;patella tangential;défilé;defile femoro patellaire;轴位;軸位;髌骨轴位",
        "long_leg": _LONG_LEG,
        "frontal": "frontal;face;正位;正面",
    }
)
LOCALISERS = Lexicon(
    {
        "localiser": "loc;localizer;localiser;localizador;localisateur;lokalizer;locator;mp locator;scout;survey;"
        "prescription;3 plane;3plane;three plane;3 pl;3pl;topogram;定位",
        "reference": "loc ref;loc reference;localizer reference;ref loc",
    }
)
"""``reference``: words about a localiser that do not make the images one."""

DERIVED = Lexicon({"derived": "mpr;mip;minip;mpvr;sub;subtraction;reformat;reformats;reformatted;重建"})
STITCHED = Lexicon({"stitched": f"stitched;stitch;stitching;composed;composite;拼接;{_LONG_LEG}"})
IMPLANTS = Lexicon(
    {
        "implant": "tkr;tka;thr;tha;uka;pfa;arthroplasty;prosthesis;prosthetic;implant;implants;endoprosthesis;"
        "endoprothese;knie tep;knietep;htep;tep;prothese;prothèse;protesis;prótesis;protesi;hardware;orif;screw;"
        "screws;postop;post op;postoperative;post operative;postoperativ;假体;假體;置换;置換;内固定;內固定;术后;術後"
    }
)
BODY_PARTS = Lexicon(
    {
        "knee": "knee;knees;lknee;rknee;ltknee;rtknee;knie;kniegelenk;genou;genoux;rodilla;rodillas;ginocchio;joelho;"
        "knä;kna;knæ;kne;polvi;kolano;колено;колена;коленный;коленного;patella;patellofemoral;tibiofemoral;"
        "膝;髌;髕;무릎;슬관절",
        "hip": "hip;hips;hüfte;hufte;hüftgelenk;hanche;cadera;anca;quadril;höft;hoft;hofte;lonkka;biodro;"
        "тазобедренный;acetabulum;髋;髖;股関節;고관절",
        "shoulder": "shoulder;shoulders;schulter;épaule;epaule;hombro;spalla;ombro;skulder;olkapää;bark;плечо;"
        "плечевой;肩;어깨",
        "ankle": "ankle;ankles;sprunggelenk;osg;cheville;tobillo;caviglia;tornozelo;fotled;ankel;nilkka;голеностопный;"
        "踝;足関節;발목",
        "wrist": "wrist;wrists;handgelenk;poignet;muñeca;muneca;polso;punho;ranne;腕;手関節;손목",
        "elbow": "elbow;elbows;ellbogen;ellenbogen;coude;codo;gomito;cotovelo;肘;팔꿈치",
        "hand": "hand;hands;mano;mão;手",
        "finger": "finger;fingers;thumb;指",
        "foot": "foot;feet;fuß;fuss;pied;calcaneus;heel;足",
        "toe": "toe;toes;趾",
        "leg": "leg;lowerleg;lower leg;tibia;tib fib;tibia fibula;fibula;calf;unterschenkel;小腿",
        "thigh": "thigh;femur;upper leg;upperleg;oberschenkel;cuisse;大腿",
        "arm": "arm;uparm;upper arm;humerus;oberarm;上臂",
        "forearm": "forearm;radius;ulna;unterarm;前臂",
        "extremity": "extremity;lextremity;lower extremity;upper extremity;limb;lower limb",
        "pelvis": "pelvis;becken;bassin;sacrum;sacroiliac;骨盆;骨盤",
        "spine": "spine;cspine;tspine;lspine;sspine;c spine;t spine;l spine;lumbar;cervical;thoracic spine;"
        "wirbelsäule;rachis;脊;腰椎;颈椎;頸椎;胸椎",
        "chest": "chest;thorax;lung;lungs;rib;ribs;sternum;poumon;胸",
        "abdomen": "abdomen;abdominal;liver;kidney;prostate;腹",
        "head": "head;brain;skull;sella;orbit;orbits;kopf;schädel;crâne;头;頭;脑;脳;颅",
        "neck": "neck;larynx;thyroid;颈部",
        "jaw": "jaw;mandible;teeth;tooth;dental;tmj",
        "breast": "breast;mamma;乳",
        "heart": "heart;cardiac;心",
        "whole_body": "wholebody;whole body",
        "phantom": "phantom",
    }
)
MANUFACTURERS = Lexicon(
    {
        "Siemens": "siemens",
        "GE": "ge;general electric;genesis;gems",
        "Philips": "philips",
        "Canon": "canon",
        "Toshiba": "toshiba",
        "Hitachi": "hitachi",
        "Fujifilm": "fujifilm;fuji",
        "Agfa": "agfa",
        "Carestream": "carestream;kodak",
        "Konica Minolta": "konica;konica minolta",
        "Samsung": "samsung",
        "Shimadzu": "shimadzu",
        "United Imaging": "united imaging;uih",
        "Esaote": "esaote",
        "Hologic": "hologic",
        "Swissray": "swissray",
        "EOS imaging": "eos",
    }
)

_GERMAN = "knie hüfte hufte schulter sprunggelenk osg fuß fuss hand handgelenk ellbogen"
_FRENCH = "genou hanche épaule epaule cheville poignet"


def _beside(nouns: str, *marks: str) -> str:
    return ";".join(f"{noun} {mark};{mark} {noun}" for noun in nouns.split() for mark in marks)


SIDES = Lexicon(
    {
        "L": "l;lt;left;lft;lknee;ltknee;links;linke;linker;linkes;linken;gauche;gche;izquierda;izquierdo;izq;izda;"
        "izdo;sinistra;sinistro;sinister;sin;sx;esquerda;esquerdo;vänster;vanster;venstre;vasen;vasemman;lewy;lewa;"
        f"lewe;lewego;lewej;левый;левого;левая;левой;{_beside(_GERMAN, 'li')};{_beside(_FRENCH, 'g')};左;왼쪽;좌측",
        "R": "r;rt;right;rgt;rknee;rtknee;rechts;rechte;rechter;rechtes;rechten;droit;droite;dte;derecha;derecho;dcha;"
        "dcho;destra;destro;dexter;dextra;dx;dex;direita;direito;höger;hoger;højre;hojre;høyre;hoyre;oikea;oikean;"
        f"prawy;prawa;prawe;prawego;prawej;правый;правого;правая;правой;{_beside(_GERMAN, 're')};"
        f"{_beside(_FRENCH, 'd')};右;오른쪽;우측",
        "B": "b l;both;bilateral;bilat;bilaterale;bilatérale;bilateraal;beide;beider;beidseits;beidseitig;bds;ambas;"
        "ambos;ambedue;entrambe;deux genoux;двусторонний;обоих;обеих;双;雙;两侧;兩側;両;양측",
        "": "r o;l spine;l s;sin contraste;sin contrast;sin gadolinio;sin civ;sin iv;sin gd",
    }
)
"""The empty term: words that look like a side and are none (rule out, lumbar spine, Spanish "sin" = without)."""

_SWAP = re.compile(r"\b[rl]\s*(?:-|->|>+|<+)\s*[rl]\b|\b[ld]['’]", re.IGNORECASE)
"""Phase encoding directions (R>L, R-L), and French articles (l'épaule)."""


@lru_cache(maxsize=4096)
def side(text: str) -> str:
    """Side that a text names: L, R, B (both), or ``""``.

    Of ``L`` or ``R`` alone in front of a number (L 4/5) and of ``DX`` as the first of several words (digital X-ray)
    nothing is concluded.
    """
    words = plain(_SWAP.sub(" ", text))
    found = set()
    for term, start, end in SIDES.matches(words):
        word, rest = words[start:end], words[end:].strip()
        numbered = word in ("l", "r") and rest[:1].isdigit()
        if term and not numbered and not (word == "dx" and start == 0 and rest):
            found.add(term)
    return "B" if "B" in found or {"L", "R"} <= found else next(iter(found), "")


def plane(text: str) -> str:
    """``sagittal``, ``coronal``, ``axial``, or ``""`` if the text names none or several."""
    return PLANES.only(text)


def weighting(text: str) -> str:
    """``T1``, ``T2``, ``T2*``, ``PD`` (intermediate weighting too), or ``""`` if the text names none or several."""
    return WEIGHTINGS.only(text)


def fat_suppression(text: str) -> str:
    """``yes``, ``no``, or ``""`` if the text says nothing of it."""
    return FAT.only(text)


def family(text: str) -> str:
    """Kind of pulse sequence: SE, TSE, GRE, DESS, FLASH, EPI, or ``""``; the most particular one that is named."""
    found = FAMILIES.find(text)
    return next((name for name in ("DESS", "FLASH", "EPI", "TSE", "GRE", "SE") if name in found), "")


def view(text: str) -> str:
    """View of a film: AP, PA, LAT, OBL, skyline, long_leg, frontal (AP or PA), or ``""`` if none or several."""
    found = VIEWS.find(text)
    for kind in ("long_leg", "skyline"):  # beside these, AP and PA say where the beam came from
        if kind in found and set(found) <= {kind, "AP", "PA", "frontal"}:
            return kind
    found = tuple(name for name in found if name != "frontal") or found
    return found[0] if len(found) == 1 else ""


def body_part(text: str) -> str:
    """Body part that a text names, one of `BODY_PARTS`; joints before other parts, else the first; ``""`` if none."""
    found = BODY_PARTS.find(text)
    return next((part for part in found if part in JOINTS), found[0] if found else "")


def is_localiser(text: str) -> bool:
    """Does the text call the images planning images?"""
    return "localiser" in LOCALISERS.find(text)


def is_derived(text: str) -> bool:
    """Does the text say that the images were computed from others (reformats, projections, differences)?"""
    return bool(DERIVED.find(text))


def is_stitched(text: str) -> bool:
    """Does the text speak of a film put together from several, or of the whole leg?"""
    return bool(STITCHED.find(text))


def names_implant(text: str) -> bool:
    """Does the text speak of a replaced joint, of metal or of an operation?"""
    return bool(IMPLANTS.find(text))


def manufacturer(text: str) -> str:
    """A maker's usual name, or ``""`` if it is none of `MANUFACTURERS`."""
    return next(iter(MANUFACTURERS.find(text)), "")
