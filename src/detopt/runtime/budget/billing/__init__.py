"""What providers billed: compared with the own ledger, and never taken over."""

from detopt.runtime.budget.billing.aws import AwsBilling
from detopt.runtime.budget.billing.azure import AzureBilling
from detopt.runtime.budget.billing.bill import Bill, Billing, Period
from detopt.runtime.budget.billing.gcp import GcpBilling

__all__ = ["AwsBilling", "AzureBilling", "Bill", "Billing", "GcpBilling", "Period"]
