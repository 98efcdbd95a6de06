package workload

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/jws"
)

// FetchJWTSVID returns a new JWT-SVID of the workload for the audiences.
func (e *endpoint) FetchJWTSVID(_ context.Context, r *api.JWTSVIDRequest) (*api.JWTSVIDResponse, error) {
	if len(r.GetAudience()) == 0 || slices.Contains(r.GetAudience(), "") {
		return nil, status.Error(codes.InvalidArgument, "an audience is required")
	}
	if asked := r.GetSpiffeId(); asked != "" && asked != e.id.String() {
		return nil, status.Error(codes.PermissionDenied, "this is the socket of another workload")
	}
	token, err := e.config.CA.JWTSVID(e.id, r.GetAudience(), e.config.JWTTTL)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &api.JWTSVIDResponse{Svids: []*api.JWTSVID{{SpiffeId: e.id.String(), Svid: token}}}, nil
}

// FetchJWTBundles sends the JWT bundle of the trust domain, at once and whenever it
// changes. As from SPIRE, its keys do not say what they are for: all of them are
// for JWT-SVIDs (SPIFFE Workload API section 6.2.2).
func (e *endpoint) FetchJWTBundles(_ *api.JWTBundlesRequest, stream grpc.ServerStreamingServer[api.JWTBundlesResponse]) error {
	var sent *jwtbundle.Bundle
	return e.follow(stream.Context(), func() error {
		bundle := e.config.CA.JWTBundle()
		if bundle.Equal(sent) {
			return nil
		}
		sent = bundle
		keys, err := bundle.Marshal()
		if err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}
		return stream.Send(&api.JWTBundlesResponse{Bundles: map[string][]byte{bundle.TrustDomain().IDString(): keys}})
	})
}

// ValidateJWTSVID says whose a JWT-SVID of the trust domain is, if it is good for
// the audience.
func (e *endpoint) ValidateJWTSVID(_ context.Context, r *api.ValidateJWTSVIDRequest) (*api.ValidateJWTSVIDResponse, error) {
	if r.GetAudience() == "" || r.GetSvid() == "" {
		return nil, status.Error(codes.InvalidArgument, "an audience and an SVID are required")
	}
	id, payload, err := validate(e.config.CA, r, e.config.Now())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	claims := &structpb.Struct{}
	if err := claims.UnmarshalJSON(payload); err != nil {
		return nil, status.Error(codes.InvalidArgument, "the claims are not well formed")
	}
	return &api.ValidateJWTSVIDResponse{SpiffeId: id.String(), Claims: claims}, nil
}

// maxDepth is how deep claims may lie.
const maxDepth = 16

// validate checks a JWT-SVID as the standard says (JWT-SVID sections 2 to 4), with
// no tolerance: it was made by the same clock.
func validate(ca *trust.CA, r *api.ValidateJWTSVIDRequest, now time.Time) (id spiffeid.ID, payload []byte, err error) {
	token, err := jws.Parse(r.GetSvid())
	if err != nil {
		return id, nil, err
	}
	header := token.Header()
	if header.Extra || header.Type != "" && header.Type != "JWT" && header.Type != "JOSE" {
		return id, nil, jws.ErrHeader
	}
	public, ok := ca.JWTBundle().FindJWTAuthority(header.KeyID)
	if !ok {
		return id, nil, errors.New("the key of the token is not one of the trust domain")
	}
	key, err := jws.NewKey(header.KeyID, jws.ES256, public)
	if err != nil {
		return id, nil, err
	}
	if payload, err = token.VerifyPayload(key); err != nil {
		return id, nil, err
	}
	var claims struct {
		Subject   string          `json:"sub"`
		Audience  jws.Audience    `json:"aud"`
		ExpiresAt jws.NumericDate `json:"exp"`
		NotBefore jws.NumericDate `json:"nbf"`
	}
	if err := jws.DecodeClaims(payload, &claims, maxDepth); err != nil {
		return id, nil, err
	}
	id, err = spiffeid.FromString(claims.Subject)
	switch {
	case err != nil:
		return id, nil, err
	case !id.MemberOf(ca.Domain()) || id.Path() == "":
		return id, nil, errors.New("the token is not of a workload of the trust domain")
	case !slices.Contains(claims.Audience, r.GetAudience()):
		return id, nil, errors.New("the token is not for this audience")
	case !now.Before(time.Unix(int64(claims.ExpiresAt), 0)):
		return id, nil, errors.New("the token has expired")
	case now.Before(time.Unix(int64(claims.NotBefore), 0)):
		return id, nil, errors.New("the token is not valid yet")
	}
	return id, payload, nil
}
