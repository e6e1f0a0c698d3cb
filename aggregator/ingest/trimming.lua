-- Looks at a stream (KEYS[1]), the hub's group (ARGV[1]) and the notes (KEYS[2]). With ARGV[3] it also notes
-- what was lost, and moves the group on.
--
-- Since 7.0 Redis counts the entries that were ever added, and those that the group is past: so it is known
-- exactly how many left unread. But a group's own count does not grow by what it did not read, so it is set.
-- Before 7.0 what is gone shows only by the first entry, or the last id of an empty stream, being after what
-- was read: it counts as 1. A stream that the hub just saw empty and wholly read (ARGV[2]) lost nothing by its
-- next entry. The numbers of an id are compared as text: Lua's have 53 bits.
local function by_name(list)
  local found = {}
  for index = 1, #list, 2 do found[list[index]] = list[index + 1] end
  return found
end
local function is_before(one, other)
  local ours, theirs = {one:match('(%d+)-(%d+)')}, {other:match('(%d+)-(%d+)')}
  for index = 1, 2 do
    if #ours[index] ~= #theirs[index] then return #ours[index] < #theirs[index] end
    if ours[index] ~= theirs[index] then return ours[index] < theirs[index] end
  end
  return false
end
local info = by_name(redis.call('XINFO', 'STREAM', KEYS[1]))
local first = info['first-entry'] and info['first-entry'][1] or ''
local last, length, added = info['last-generated-id'], info['length'], info['entries-added']
local group
for _, each in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  each = by_name(each)
  if each['name'] == ARGV[1] then group = each end
end
if not group then return {last, length, first, '', 0, -1, 0, 1, redis.call('HGETALL', KEYS[2])} end
local read, passed = group['last-delivered-id'], group['entries-read'] or nil
local lost = 0
if is_before(read, first ~= '' and first or last) then
  if added and (passed or read == '0-0') then
    lost = math.max(0, added - length - (passed or 0))
  elseif read ~= ARGV[2] and (read ~= '0-0' or first == '') then
    lost = 1
  end
end
if ARGV[3] == '1' then
  local target = first ~= '' and read or last
  if lost > 0 then redis.call('HSET', KEYS[2], read .. ' to ' .. first, lost) end
  if added and (lost > 0 or (read == last and passed ~= added)) then
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], target, 'ENTRIESREAD', added - (lost > 0 and length or 0))
  elseif lost > 0 and first == '' then
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], target)
  end
end
local noted = redis.call('HGETALL', KEYS[2])
return {last, length, first, read, group['pending'], group['lag'] or -1, lost, added and 1 or 0, noted}
