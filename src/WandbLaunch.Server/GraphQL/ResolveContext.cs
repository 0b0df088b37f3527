using System.Globalization;
using System.Text.Json.Nodes;
using GraphQL;
using WandbLaunch.Server.Auth;

namespace WandbLaunch.Server.Schema;

/// <summary>What resolvers ask of a request.</summary>
internal static class ResolveContext
{
    /// <summary>Who asks.</summary>
    internal static Caller Caller(this IResolveFieldContext c) => AnswerBudget.Of(c).Caller;

    /// <summary>The name of who asks, and of this user's own entity.</summary>
    internal static string Username(this IResolveFieldContext c) => c.Caller().Name;

    /// <summary>The record of the object whose field is asked for.</summary>
    internal static T Of<T>(this IResolveFieldContext c) => (T)((Row)c.Source!).Record!;

    /// <summary>How many rows of a page are asked for.</summary>
    internal static int First(this IResolveFieldContext c, int usual) =>
        Math.Clamp(c.GetArgument<int?>("first") ?? usual, 1, 1000);

    /// <summary>The input of a mutation.</summary>
    internal static Dictionary<string, object?> Input(this IResolveFieldContext c) =>
        new(c.GetArgument<IDictionary<string, object?>>("input"));

    internal static string? Text(this IDictionary<string, object?> input, string name) =>
        input.TryGetValue(name, out var value) ? value?.ToString() : null;

    internal static string Need(this IDictionary<string, object?> input, string name) =>
        input.Text(name) ?? throw new ServerFault($"{name} is missing.");

    internal static long NeedId(this IDictionary<string, object?> input, string name) =>
        Data.Ids.Parse(input.Need(name));

    internal static long? OptionalId(this IDictionary<string, object?> input, string name) =>
        input.Text(name) is { Length: > 0 } text ? Data.Ids.Parse(text) : null;

    /// <summary>The texts of a list of an input, or of a field of its maps.</summary>
    internal static string[] Texts(this IDictionary<string, object?> input, string name, string? field = null) =>
        [
            .. (input.TryGetValue(name, out var list) ? list as IEnumerable<object?> ?? [] : [])
                .Select(v => field is null ? v?.ToString() : (v as IDictionary<string, object?>)?.Text(field))
                .OfType<string>(),
        ];

    /// <summary>The report of an input that has a message.</summary>
    internal static JsonObject? Report(this Dictionary<string, object?> input) =>
        input.Text("message") is { } message
            ? new JsonObject
            {
                ["message"] = message,
                ["stage"] = input.Text("stage"),
                ["filePaths"] = new JsonArray([
                    .. (input.GetValueOrDefault("filePaths") as IEnumerable<object?> ?? []).Select(p =>
                        (JsonNode?)JsonValue.Create(p?.ToString())
                    ),
                ]),
            }
            : null;

    /// <summary>The answer of a mutation that did it or not.</summary>
    internal static Row Done(this IResolveFieldContext c, bool success) =>
        new() { ["success"] = success, ["clientMutationId"] = c.Input().Text("clientMutationId") };

    /// <summary>An address that needs no key.</summary>
    internal static string SignedUrl(this IResolveFieldContext c, string method, string path) =>
        (string)c.UserContext["base"]!
        + path
        + "?"
        + ((UrlSigner)c.UserContext["signer"]!).Sign(method, path, DateTimeOffset.UtcNow.AddDays(1), c.Caller().Pass);

    /// <summary>The context of a request, for <see cref="SignedUrl"/> and <see cref="AnswerBudget"/>.</summary>
    internal static Dictionary<string, object?> NewUserContext(
        HttpRequest request,
        UrlSigner signer,
        AnswerBudget budget
    )
    {
        var context = new Dictionary<string, object?>
        {
            ["base"] = string.Create(CultureInfo.InvariantCulture, $"{request.Scheme}://{request.Host}"),
            ["signer"] = signer,
        };
        budget.AddTo(context);
        return context;
    }
}
