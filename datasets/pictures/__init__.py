"""Pictures of staves: distorted as a camera does, searched for staves, and others that hold no music."""
