"""Who takes the money: the protocol, and the provider of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from academy.errors import ProviderAway


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What the platform believes about a payment when it asks the provider."""

    payment_id: int
    amount_minor: int
    currency: str
    provider_ref: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the provider knows: the truth about a payment."""

    state: Literal["pending", "processing", "succeeded", "failed"]
    provider_ref: str
    amount_minor: int
    currency: str
    method_last4: str | None = None
    failure_code: str | None = None


class PaymentProvider(Protocol):
    """Asks a payment provider; called with no transaction open."""

    def verify(self, charge: Charge, evidence: str) -> Verdict:
        """Return what the provider knows of a payment. Raises ProviderAway.

        `evidence` is what the payer brought along, such as a session id: a hint, never the truth.
        """


class DemoProvider:
    """Takes no money: `evidence` says how the payment goes.

    `declined` fails it, `processing` leaves it open, `short` pays too little; anything else pays.
    """

    def verify(self, charge: Charge, evidence: str) -> Verdict:
        """Return the verdict that `evidence` asks for."""
        ref = charge.provider_ref or f"demo_{charge.payment_id}"
        paid = charge.amount_minor - 1 if evidence == "short" else charge.amount_minor
        if evidence == "declined":
            return Verdict(state="failed", provider_ref=ref, amount_minor=paid,
                           currency=charge.currency, failure_code="insufficient_funds")  # fmt: skip
        state: Literal["processing", "succeeded"] = (
            "processing" if evidence == "processing" else "succeeded"
        )
        return Verdict(state=state, provider_ref=ref, amount_minor=paid, currency=charge.currency,
                       method_last4="4242")  # fmt: skip


class NoProvider:
    """Stands where none is configured: a deployed platform must not believe the demo's."""

    def verify(self, charge: Charge, evidence: str) -> Verdict:
        """Refuse."""
        raise ProviderAway("no payment provider is configured; hand one to academy.init_app")
