using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>What builds an image in the cluster.</summary>
/// <param name="Name">kaniko or buildkit.</param>
/// <param name="Image">The image that it comes in.</param>
internal sealed record KubeBuilder(string Name, string Image)
{
    internal const string Kaniko = "kaniko";
    internal const string BuildKit = "buildkit";
    private const string Docker = "docker";

    private static readonly Dictionary<string, string> Usual = new(StringComparer.Ordinal)
    {
        [Kaniko] = "gcr.io/kaniko-project/executor:v1.23.2",
        [BuildKit] = "docker.io/moby/buildkit:v0.16.0-rootless",
    };

    internal bool IsKaniko => Name == Kaniko;

    /// <summary>Reads kaniko, buildkit=registry.example.org/buildkit:1 and the like. Null: this machine's Docker Engine builds.</summary>
    /// <exception cref="LaunchException"><c>ImageBuilderInvalid</c>, <c>ImageNameInvalid</c>.</exception>
    internal static KubeBuilder? Parse(string? text)
    {
        if (string.IsNullOrWhiteSpace(text))
        {
            return null;
        }

        var parts = text.Trim().Split('=', 2);
        var name = parts[0].Trim();
        if (name == Docker && parts.Length == 1)
        {
            return null;
        }

        if (!Usual.TryGetValue(name, out var image))
        {
            throw new LaunchException(
                "ImageBuilderInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{text}' is no builder of images. Give docker (this machine's Docker Engine), kaniko or buildkit (a Job of the cluster), or one of these two with its image: kaniko=registry.example.org/kaniko:v1.23.2.",
                text
            );
        }

        if (parts.Length > 1)
        {
            image = parts[1].Trim();
            Model.ImageName.Check(image);
        }

        return new KubeBuilder(name, image);
    }
}
