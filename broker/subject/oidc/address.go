package oidc

import "net/netip"

// reserved4 are the IPv4 addresses that are no one's on the public internet
// (IANA's special-purpose registry).
var reserved4 = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared by carriers
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), // link-local: metadata of clouds
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"), // multicast, reserved, broadcast
}

// IPv6 is the other way round: only 2000::/3 is public, less these.
var (
	reserved6 = [...]netip.Prefix{
		netip.MustParsePrefix("2001::/23"), // protocols, Teredo among them
		netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("2002::/16"), // 6to4: holds an IPv4 address
		netip.MustParsePrefix("3fff::/20"),
	}
	global6 = [...]netip.Prefix{netip.MustParsePrefix("2000::/3")}
	nat64   = [...]netip.Prefix{netip.MustParsePrefix("64:ff9b::/96")} // RFC 6052: holds an IPv4 address
)

// public reports whether an address is one that the whole internet reaches. An
// IPv4 address inside an IPv6 one is looked at as what it is; one with a zone is
// in no prefix, and so is not public.
func public(a netip.Addr) bool {
	switch a = a.Unmap(); {
	case a.Is4():
		return !within(reserved4[:], a)
	case within(nat64[:], a):
		raw := a.As16()
		return public(netip.AddrFrom4([4]byte(raw[12:])))
	}
	return within(global6[:], a) && !within(reserved6[:], a)
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
