--[[
num: numbers as texts. One that goes to a command as it is costs as much as the command (%.17g).
]]
-- A whole number as text. `..` and tostring keep 14 digits, '%.0f' is slow, and '%d' alone may end
-- at 32 bits.
local SMALL = {}
local function num(n)
  if n < 2147483648 then
    local text = SMALL[n] or string.format('%d', n)
    if n < 100 then SMALL[n] = text end
    return text
  end
  return string.format('%d%06d', n / 1000000, n % 1000000)
end
