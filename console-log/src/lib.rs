//! Reads guest console text: kernel trouble and SysRq dumps, as kernel facts.
