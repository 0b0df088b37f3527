using System.Text.RegularExpressions;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>Names of docker images.</summary>
internal static partial class ImageName
{
    /// <summary>The name, when it is one.</summary>
    /// <exception cref="LaunchException"><c>ImageNameInvalid</c>.</exception>
    internal static string Check(string image) =>
        Form().IsMatch(image)
            ? image
            : throw new LaunchException(
                "ImageNameInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{image}' is not the name of a docker image. Give one such as python:3.11-slim.",
                image
            );

    // Docker's own grammar of references: host, path, tag, digest.
    [GeneratedRegex(
        @"\A(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\z"
    )]
    private static partial Regex Form();
}
