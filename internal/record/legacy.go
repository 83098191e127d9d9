package record

// minLegacyLen is the smallest length field of any format: a message of magic 0 with neither key nor value.
const minLegacyLen = 14
