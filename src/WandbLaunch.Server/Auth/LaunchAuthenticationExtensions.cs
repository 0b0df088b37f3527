using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.HttpOverrides;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Auth;

/// <summary>Policies of endpoints. One that names none is for those who have the key.</summary>
internal static class Policies
{
    /// <summary>The page without a word of data: for whoever has signed in, and be it with the cookie alone.</summary>
    internal const string Page = "page";

    /// <summary>The few files with which the page asks for the key: for everyone.</summary>
    internal const string Assets = "assets";

    /// <summary>Signing in: for everyone.</summary>
    internal const string SignIn = "sign in";
}

/// <summary>Who may ask for what.</summary>
internal static class LaunchAuthenticationExtensions
{
    /// <summary>Authentication by the key, and the policies.</summary>
    internal static IServiceCollection AddLaunchAuthentication(
        this IServiceCollection services,
        LaunchServerOptions options
    )
    {
        services.AddSingleton(new ServerKey(options.Key));
        services.AddSingleton<UserRepository>();
        services.AddSingleton<UserDirectory>();
        services.AddSingleton<UrlSigner>();
        services.AddSingleton<Sessions>();
        services.AddSingleton<SignInLinks>();
        services.AddSingleton(new RequestGuard(options));

        // AddAuthentication brings data protection with it, which writes keys of its own into the user's folder.
        services.AddSingleton<UrlEncoder>(UrlEncoder.Default);
        services.AddTransient<LaunchAuthenticationHandler>();
        services.AddAuthenticationCore(o =>
        {
            o.DefaultScheme = LaunchAuthenticationHandler.SchemeName;
            o.AddScheme<LaunchAuthenticationHandler>(LaunchAuthenticationHandler.SchemeName, null);
        });
        services.AddAuthorization(o =>
        {
            var holder = new AuthorizationPolicyBuilder(LaunchAuthenticationHandler.SchemeName)
                .RequireClaim(LaunchAuthenticationHandler.Reach, LaunchAuthenticationHandler.Everything)
                .Build();

            // What is nowhere is for nobody to learn of either.
            o.DefaultPolicy = o.FallbackPolicy = holder;
            o.AddPolicy(
                Policies.Page,
                p =>
                    Where(
                        p,
                        (user, request) =>
                            user.Reaches(LaunchAuthenticationHandler.Page) && PageEndpoints.IsPage(request.Path)
                    )
            );
            o.AddPolicy(Policies.Assets, p => Where(p, (_, request) => PageEndpoints.IsAsset(request.Path)));
            o.AddPolicy(Policies.SignIn, p => Where(p, (_, request) => request.Path == SessionEndpoints.Path));
        });
        return services;
    }

    /// <summary>What every request must pass before anything looks at it.</summary>
    internal static void UseLaunchAuthentication(this WebApplication app)
    {
        var guard = app.Services.GetRequiredService<RequestGuard>();
        app.Use(guard.CheckNameAsync);
        UseTrustedProxies(app, app.Services.GetRequiredService<LaunchServerOptions>());
        app.Use(guard.InvokeAsync);
        app.UseRouting();
        app.UseAuthentication();
        app.UseAuthorization();
        var audit = app.Services.GetRequiredService<AuditLog>();
        app.Use((context, next) => AccessRules.InvokeAsync(audit, context, next));
        app.Use(ContentGuard.InvokeAsync);
        app.Use((context, next) => AuditRules.InvokeAsync(audit, context, next));
    }

    // What a proxy says of a request is taken from those that were named: for everyone else it is text.
    private static void UseTrustedProxies(WebApplication app, LaunchServerOptions options)
    {
        if (options.TrustedProxies.Count == 0)
        {
            return;
        }

        var forwarded = new ForwardedHeadersOptions
        {
            ForwardedHeaders =
                ForwardedHeaders.XForwardedFor | ForwardedHeaders.XForwardedProto | ForwardedHeaders.XForwardedHost,
        };
        forwarded.KnownProxies.Clear();
        forwarded.KnownNetworks.Clear();
        foreach (var proxy in options.TrustedProxies)
        {
            forwarded.KnownNetworks.Add(new(proxy.BaseAddress, proxy.PrefixLength));
        }

        app.UseForwardedHeaders(forwarded);
    }

    private static void Where(
        AuthorizationPolicyBuilder policy,
        Func<System.Security.Claims.ClaimsPrincipal, HttpRequest, bool> also
    ) =>
        policy
            .AddAuthenticationSchemes(LaunchAuthenticationHandler.SchemeName)
            .RequireAssertion(c =>
                c.User.Reaches(LaunchAuthenticationHandler.Everything)
                || c.Resource is HttpContext context && also(c.User, context.Request)
            );

    private static bool Reaches(this System.Security.Claims.ClaimsPrincipal user, string reach) =>
        user.HasClaim(LaunchAuthenticationHandler.Reach, reach);
}
