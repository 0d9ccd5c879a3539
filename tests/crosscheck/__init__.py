"""Labels read a second time by music21, which shares no code with the engraver, and compared measure by measure."""
