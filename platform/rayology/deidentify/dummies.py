"""Valid values that say nothing, for attributes that must have one."""

from pydicom.dataelem import DataElement

__all__ = ["REMOVED", "dummy"]

REMOVED = "REMOVED"
NUMBERS = ("DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV", "AT")
DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "UR": "urn:removed"}


def dummy(element: DataElement, vr: str) -> object:
    """Return a value of a VR, of as many values or bytes as the element has."""
    match vr:
        case _ if vr in NUMBERS:
            one: object = "0" if vr in {"DS", "IS"} else 0
        case _ if vr.startswith("O") or vr == "UN":
            return bytes(len(element.value) if isinstance(element.value, bytes) else 2)
        case _:
            one = DUMMIES.get(vr, REMOVED)
    return [one] * element.VM if element.VM > 1 else one
