using System.Text.Json;
using System.Text.Json.Serialization;

namespace WandbLaunch.Model;

/// <summary>How <see cref="LaunchConfig"/> is read and written, made by the compiler.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(LaunchConfig))]
internal sealed partial class LaunchConfigJson : JsonSerializerContext
{
    /// <summary>A value of another kind than its key has is an error that names the key.</summary>
    internal static readonly LaunchConfigJson Strict = new(Made(false));

    /// <summary>Such a value is as if it were not there.</summary>
    internal static readonly LaunchConfigJson Lenient = new(Made(true));

    // Documents have their own limits before they come here (TreeLimits, ItemSpec): this only must not be the narrower one.
    internal const int Levels = 128;

    private static JsonSerializerOptions Made(bool lenient) =>
        new()
        {
            PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
            DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
            MaxDepth = Levels,
            Converters =
            {
                new LaunchConfigValues.Text(lenient),
                new LaunchConfigValues.Secret(lenient),
                new LaunchConfigValues.Number(lenient),
                new LaunchConfigValues.Flag(lenient),
                new LaunchConfigValues.Span(lenient),
                new LaunchConfigValues.Words(lenient),
                new LaunchConfigValues.Map(lenient),
                new LaunchConfigValues.List(lenient),
                new LaunchConfigValues.Arguments(lenient),
            },
        };
}
