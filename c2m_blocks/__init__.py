"""Composable PyTorch blocks for reference-based super-resolution (C2-Matching)."""

from importlib.metadata import version

from c2m_blocks.aggregation import DynamicAggregation, PatchSwap
from c2m_blocks.contrastive import ContrastiveMatcher
from c2m_blocks.core import read_image, write_image
from c2m_blocks.features import DescriptorEncoder, TextureEncoder, VGGFeatures
from c2m_blocks.flow import FlowMatcher, SPyNet, flow_warp
from c2m_blocks.losses import Discriminator, PerceptualLoss, adversarial_loss, charbonnier, discriminator_loss
from c2m_blocks.matches import Matches
from c2m_blocks.matching import match_patches
from c2m_blocks.matching_losses import CorrelationDistiller, TripletMarginLoss
from c2m_blocks.metrics import aee, psnr, ssim
from c2m_blocks.resample import bicubic, bicubic_pil, rgb_to_y
from c2m_blocks.restoration import RefSRNet
from c2m_blocks.video import BasicVSR, RefBasicVSR
from c2m_blocks.weights import load_network, read_checkpoint

__version__ = version("c2m_blocks")

__all__ = [
    "BasicVSR",
    "ContrastiveMatcher",
    "CorrelationDistiller",
    "DescriptorEncoder",
    "Discriminator",
    "DynamicAggregation",
    "FlowMatcher",
    "Matches",
    "PatchSwap",
    "PerceptualLoss",
    "RefBasicVSR",
    "RefSRNet",
    "SPyNet",
    "TextureEncoder",
    "TripletMarginLoss",
    "VGGFeatures",
    "adversarial_loss",
    "aee",
    "bicubic",
    "bicubic_pil",
    "charbonnier",
    "discriminator_loss",
    "flow_warp",
    "load_network",
    "match_patches",
    "psnr",
    "read_checkpoint",
    "read_image",
    "rgb_to_y",
    "ssim",
    "write_image",
]
