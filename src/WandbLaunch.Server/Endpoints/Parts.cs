namespace WandbLaunch.Server.Endpoints;

/// <summary>
/// Handlers that are given parts of the address. The framework's own binding would compile an expression for each of
/// them before the server listens: a fifth of its start.
/// </summary>
internal static class Parts
{
    internal static RequestDelegate Of(string first, Func<HttpContext, string, Task> handle) =>
        context => Part(context, first) is { } a ? handle(context, a) : MissingAsync(context);

    internal static RequestDelegate Of(string first, string second, Func<HttpContext, string, string, Task> handle) =>
        context =>
            Part(context, first) is { } a && Part(context, second) is { } b
                ? handle(context, a, b)
                : MissingAsync(context);

    internal static RequestDelegate Of(
        string first,
        string second,
        string third,
        Func<HttpContext, string, string, string, Task> handle
    ) =>
        context =>
            Part(context, first) is { } a && Part(context, second) is { } b && Part(context, third) is { } c
                ? handle(context, a, b, c)
                : MissingAsync(context);

    internal static RequestDelegate Of(
        string first,
        string second,
        string third,
        string fourth,
        Func<HttpContext, string, string, string, string, Task> handle
    ) =>
        Of(
            first,
            second,
            third,
            (context, a, b, c) => Part(context, fourth) is { } d ? handle(context, a, b, c, d) : MissingAsync(context)
        );

    private static string? Part(HttpContext context, string name) => context.GetRouteValue(name)?.ToString();

    private static Task MissingAsync(HttpContext context)
    {
        context.Response.StatusCode = 400;
        return Task.CompletedTask;
    }
}
