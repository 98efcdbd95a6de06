package oauth

import "context"

// userTokenKey is the key of the token in a context.
type userTokenKey struct{}

// WithUserToken returns a context that carries the token that a request came
// with. Only who verified it on that very request puts it there (clients/enforce);
// whoever then calls on behalf of its subject shows it as subject token
// (clients/exchange). It stands here because those two do not know each other.
func WithUserToken(ctx context.Context, token Secret) context.Context {
	return context.WithValue(ctx, userTokenKey{}, token)
}

// UserToken returns the verified token that the request of this context came
// with; ok is false if there is none.
func UserToken(ctx context.Context) (token Secret, ok bool) {
	token, _ = ctx.Value(userTokenKey{}).(Secret)
	return token, !token.IsZero()
}
