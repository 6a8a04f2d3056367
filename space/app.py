"""The page of `c2m app` on a Space: for everyone, and with smaller pictures, because two cores are shared by all."""
from c2m_blocks.app import serve

serve(host="0.0.0.0", port=7860, largest=2**18)
